//! An encapsulated PDF of the report, for archives whose readers open documents.
//!
//! Owns the PDF, which holds text and pictures and nothing active, and the modules around it (PS3.3
//! section A.45.1). What the lines say comes in, and names no patient; who it is of stands at the head of
//! every page, since a page can be printed, and filed with another's. It goes into an archive, and nowhere
//! else.

use std::fmt::Write as _;
use std::io::Write as _;

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::Object;
use crate::capture::Picture;
use crate::dataset::{Dataset, WriteError};
use crate::maker::{Identity, Maker, Series};
use crate::source::Source;

/// A4 in points.
const PAGE: [f64; 2] = [595.0, 842.0];
const MARGIN: f64 = 48.0;
const LINE: f64 = 14.0;
/// Letters of 10 points that fit between the margins.
const LETTERS: usize = 88;
/// Before what a line goes on with.
const SET_IN: &str = "    ";
/// Where every page finds the font.
const FONT: &str = "/Font << /F 3 0 R >>";
/// In place of a letter that the font lacks: another letter would be a lie.
const NO_SUCH_LETTER: &str = "[?]";

/// Writes a document: a first page of lines, a page for each picture.
///
/// # Errors
/// [`WriteError::Encode`].
pub fn write(
    lines: &[String],
    pictures: &[Picture<'_>],
    source: &Source,
    maker: &Maker,
    identity: &Identity,
) -> Result<Object, WriteError> {
    let pdf = pdf(&head(source), lines, pictures)?;
    let mut object = Dataset::new();
    source.put_study(&mut object);
    maker.put_series(&mut object, Series::Document, identity);
    object.texts(&[
        (tags::CONVERSION_TYPE, VR::CS, "WSD"),
        (tags::INSTANCE_NUMBER, VR::IS, "1"),
        (tags::ACQUISITION_DATE_TIME, VR::DT, ""),
        (tags::BURNED_IN_ANNOTATION, VR::CS, "YES"),
        (tags::DOCUMENT_TITLE, VR::ST, "Liver triage; not a diagnosis"),
        (tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT, VR::LO, "application/pdf"),
    ]);
    object.items(tags::CONCEPT_NAME_CODE_SEQUENCE, Vec::new());
    object.longs(tags::ENCAPSULATED_DOCUMENT_LENGTH, &[pdf.len() as u32]);
    object.bytes(tags::ENCAPSULATED_DOCUMENT, pdf);
    object.into_object(uids::ENCAPSULATED_PDF_STORAGE, identity.uid("document"))
}

/// Who and which examination a page is of.
fn head(source: &Source) -> Vec<String> {
    let said = |tag| source.copied.get(&tag).map_or("", |text| text.trim_matches(['\0', ' ']));
    let told = |text: &str| if text.is_empty() { "not stated".to_owned() } else { text.to_owned() };
    let issuer = said(tags::ISSUER_OF_PATIENT_ID);
    let issuer = if issuer.is_empty() { String::new() } else { format!(" ({issuer})") };
    let lines = [
        format!("Patient    {}", told(&name(said(tags::PATIENT_NAME)))),
        format!("ID         {}{issuer}", told(said(tags::PATIENT_ID))),
        format!("Born       {}", told(&date(said(tags::PATIENT_BIRTH_DATE)))),
        format!("Study of   {}", told(&date(said(tags::STUDY_DATE)))),
        format!("Accession  {}", told(said(tags::ACCESSION_NUMBER))),
    ];
    let has_all = lines.iter().all(|line| line.chars().all(|c| code_of(c).is_some()));
    let note = format!(
        "{NO_SUCH_LETTER}: a letter that this page cannot show; the object's header has it"
    );
    let note = if has_all { String::new() } else { note };
    lines.into_iter().chain([note, String::new()]).collect()
}

/// `family^given^middle^prefix^suffix` as people write it: family, given middle.
fn name(stored: &str) -> String {
    // Behind the first group come the same in ideographs and in sounds; a name may have those alone.
    let group = stored.split('=').find(|group| !group.trim().is_empty()).unwrap_or_default();
    let mut parts = group.split('^').map(str::trim);
    let family = parts.next().unwrap_or_default();
    let others: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    match (family, others.is_empty()) {
        (family, true) => family.to_owned(),
        ("", false) => others.join(" "),
        (family, false) => format!("{family}, {}", others.join(" ")),
    }
}

/// `YYYYMMDD` as `YYYY-MM-DD`; anything else as it stands.
fn date(stored: &str) -> String {
    match stored.len() == 8 && stored.bytes().all(|byte| byte.is_ascii_digit()) {
        true => format!("{}-{}-{}", &stored[..4], &stored[4..6], &stored[6..]),
        false => stored.to_owned(),
    }
}

/// The file; objects are numbered from 1: catalogue, pages, font, then what each page needs.
fn pdf(head: &[String], lines: &[String], pictures: &[Picture<'_>]) -> Result<Vec<u8>, WriteError> {
    let mut objects: Vec<Vec<u8>> = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        Vec::new(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>".to_vec(),
    ];
    let mut pages = Vec::new();
    let [head, lines] =
        [head, lines].map(|all| all.iter().flat_map(|one| wrapped(one)).collect::<Vec<_>>());
    let top = written(head.iter(), 0);
    let rows = (((PAGE[1] - 2.0 * MARGIN) / LINE) as usize).saturating_sub(head.len()).max(1);
    for page in lines.chunks(rows) {
        let text = top.clone() + &written(page.iter(), head.len());
        let content = stream("", text.as_bytes(), &mut objects)?;
        pages.push(page_of(content, FONT, &mut objects));
    }
    for picture in pictures {
        let kind = format!(
            "/Type /XObject /Subtype /Image /Width {} /Height {} /ColorSpace /DeviceRGB \
             /BitsPerComponent 8 ",
            picture.width, picture.height
        );
        let image = stream(&kind, picture.rgb, &mut objects)?;
        let high = LINE * head.len() as f64;
        let room = [PAGE[0] - 2.0 * MARGIN, PAGE[1] - 2.0 * MARGIN - high];
        let scale = (room[0] / picture.width as f64).min(room[1] / picture.height as f64);
        let size = [picture.width as f64 * scale, picture.height as f64 * scale];
        let low = PAGE[1] - MARGIN - high - size[1];
        let drawn =
            format!("{top}q {:.2} 0 0 {:.2} {MARGIN} {low:.2} cm /I Do Q\n", size[0], size[1]);
        let content = stream("", drawn.as_bytes(), &mut objects)?;
        let resources = format!("{FONT} /XObject << /I {image} 0 R >>");
        pages.push(page_of(content, &resources, &mut objects));
    }
    let kids: Vec<String> = pages.iter().map(|page| format!("{page} 0 R")).collect();
    let kids = kids.join(" ");
    let list = format!("<< /Type /Pages /Count {} /Kids [{kids}] >>", pages.len());
    objects[1] = list.into_bytes();
    Ok(assembled(&objects))
}

/// Adds a compressed stream; its number.
fn stream(head: &str, bytes: &[u8], objects: &mut Vec<Vec<u8>>) -> Result<usize, WriteError> {
    let failed = |error: std::io::Error| WriteError::Encode(error.to_string());
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).map_err(failed)?;
    let packed = encoder.finish().map_err(failed)?;
    let mut object =
        format!("<< {head}/Filter /FlateDecode /Length {} >>\nstream\n", packed.len()).into_bytes();
    object.extend(packed);
    object.extend(b"\nendstream");
    objects.push(object);
    Ok(objects.len())
}

fn page_of(content: usize, resources: &str, objects: &mut Vec<Vec<u8>>) -> usize {
    let [width, height] = PAGE;
    let page = format!(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents {content} 0 R \
         /Resources << {resources} >> >>"
    );
    objects.push(page.into_bytes());
    objects.len()
}

fn assembled(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut places = Vec::with_capacity(objects.len());
    for (n, object) in objects.iter().enumerate() {
        places.push(file.len());
        file.extend(format!("{} 0 obj\n", n + 1).bytes());
        file.extend(object);
        file.extend(b"\nendobj\n");
    }
    let table = file.len();
    let mut end = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for place in places {
        let _ = writeln!(end, "{place:010} 00000 n ");
    }
    let _ = write!(
        end,
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n",
        objects.len() + 1
    );
    file.extend(end.bytes());
    file
}

/// Lines from a row of the page on.
fn written<'a>(lines: impl Iterator<Item = &'a String>, from: usize) -> String {
    let line = |(n, line): (usize, &String)| {
        let y = PAGE[1] - MARGIN - LINE * (from + n + 1) as f64;
        format!("BT /F 10 Tf {MARGIN} {y:.1} Td ({}) Tj ET\n", escaped(line))
    };
    lines.enumerate().map(line).collect()
}

/// A line as lines that fit: broken between words, and within one where it alone does not fit. Those that
/// follow are set in.
fn wrapped(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut width = 0;
    for piece in line.split_inclusive(' ').flat_map(pieces) {
        let wide = width_of(piece.trim_end());
        if width > 0 && width + wide > LETTERS {
            lines.push(SET_IN.to_owned());
            width = SET_IN.len();
        }
        width += width_of(piece);
        lines.last_mut().into_iter().for_each(|last| last.push_str(piece));
    }
    lines
}

/// A word in parts that fit into a line that is set in.
fn pieces(word: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut width) = (Vec::new(), 0, 0);
    for (at, letter) in word.char_indices() {
        let wide = width_of(letter.encode_utf8(&mut [0; 4]));
        if width + wide > LETTERS - SET_IN.len() {
            parts.push(&word[begin..at]);
            (begin, width) = (at, 0);
        }
        width += wide;
    }
    parts.push(&word[begin..]);
    parts
}

/// How many letters of a line a text takes.
fn width_of(text: &str) -> usize {
    text.chars().map(|c| code_of(c).map_or(NO_SUCH_LETTER.len(), |_| 1)).sum()
}

/// A line as PDF has it: what could end the text is written otherwise, what the font lacks is said to be
/// lacking.
fn escaped(line: &str) -> String {
    let letter = |letter: char| match code_of(letter) {
        Some(code) => one(code),
        None => NO_SUCH_LETTER.bytes().map(one).collect(),
    };
    line.chars().map(letter).collect()
}

/// A letter within the brackets of a text.
fn one(code: u8) -> String {
    match code {
        b'(' | b')' | b'\\' => format!("\\{}", char::from(code)),
        b' '..=b'~' => char::from(code).to_string(),
        code => format!("\\{code:03o}"),
    }
}

/// A letter's place in WinAnsiEncoding (ISO 32000-1 annex D): that of Latin-1, and some of Windows'.
fn code_of(letter: char) -> Option<u8> {
    const OTHERS: [(char, u8); 9] = [
        ('\u{152}', 0x8c),
        ('\u{153}', 0x9c),
        ('\u{160}', 0x8a),
        ('\u{161}', 0x9a),
        ('\u{178}', 0x9f),
        ('\u{17d}', 0x8e),
        ('\u{17e}', 0x9e),
        ('\u{2019}', 0x92),
        ('\u{2013}', 0x96),
    ];
    match letter {
        ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{ff}' => {
            u8::try_from(u32::from(letter)).ok()
        }
        _ => OTHERS.iter().find(|(other, _)| *other == letter).map(|(_, code)| *code),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use dicom_object::from_reader;

    use super::*;
    use crate::samples::{maker, source};

    #[test]
    fn every_object_is_where_the_table_says() {
        let rgb = vec![7; 4 * 3 * 3];
        let picture = Picture { number: 1, title: "x", width: 4, height: 3, rgb: &rgb, of: &[] };
        let lines = vec!["Suspected (finding) \\ 1".to_owned(); 80];
        let identity = Identity::new("1.2.3", "aa", 1, "bb");
        let object = write(&lines, &[picture], &source(2), &maker(), &identity).unwrap();
        let file = from_reader(&object.bytes[..]).unwrap();
        let pdf = file.element(tags::ENCAPSULATED_DOCUMENT).unwrap().to_bytes().unwrap();
        let text = String::from_utf8_lossy(&pdf[..]).into_owned();
        assert!(text.starts_with("%PDF-1.4") && text.contains("/Count 3 "));
        let table = pdf.windows(5).rposition(|window| window == b"xref\n").unwrap();
        let entries = String::from_utf8_lossy(&pdf[table..]).into_owned();
        for (n, entry) in
            entries.lines().skip(3).take_while(|line| line.ends_with("n ")).enumerate()
        {
            let place: usize = entry[..10].parse().unwrap();
            let head = format!("{} 0 obj", n + 1);
            assert!(pdf[place..].starts_with(head.as_bytes()), "{head}");
        }
        assert_eq!(escaped("a(b)\\é"), "a\\(b\\)\\\\\\351");
    }

    /// The streams of a PDF that are text.
    fn texts(pdf: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = pdf;
        let mark = b"stream\n";
        while let Some(at) = rest.windows(mark.len()).position(|part| part == mark) {
            rest = &rest[at + mark.len()..];
            let mut plain = Vec::new();
            let _ = flate2::read::ZlibDecoder::new(rest).read_to_end(&mut plain);
            found.extend(String::from_utf8(plain).ok().filter(|text| text.contains(" Tj ")));
        }
        found
    }

    #[test]
    fn every_page_says_whose_it_is_and_no_letter_is_another() {
        let rgb = vec![0xff; 4 * 3 * 3];
        let picture = Picture { number: 1, title: "x", width: 4, height: 3, rgb: &rgb, of: &[] };
        let mut source = source(2);
        for (tag, text) in [
            (tags::PATIENT_NAME, "Müller^Jürgen^^Dr"),
            (tags::PATIENT_ID, "A-17"),
            (tags::ISSUER_OF_PATIENT_ID, "North"),
            (tags::PATIENT_BIRTH_DATE, "19600131"),
            (tags::STUDY_DATE, "20261130"),
            (tags::ACCESSION_NUMBER, "4711"),
        ] {
            source.copied.insert(tag, text.to_owned());
        }
        let lines = vec!["Suspected finding".to_owned(); 80];
        let pages = texts(&pdf(&head(&source), &lines, &[picture]).unwrap());
        assert_eq!(pages.len(), 3);
        let wanted =
            ["M\\374ller, J\\374rgen Dr", "A-17 \\(North\\)", "1960-01-31", "2026-11-30", "4711"];
        for page in &pages {
            assert!(wanted.iter().all(|text| page.contains(text)), "{page}");
            assert!(!page.contains("[?]"), "{page}");
        }
        source.copied.insert(tags::PATIENT_NAME, "Nov\u{e1}k\u{151}^\u{5c71}".to_owned());
        let page = texts(&pdf(&head(&source), &lines[..1], &[]).unwrap()).remove(0);
        assert!(page.contains("(Patient    Nov\\341k[?], [?])"), "{page}");
        assert!(page.contains("a letter that this page cannot show"), "{page}");
        assert_eq!(name("=\u{5c71}^x="), "\u{5c71}, x");
        assert_eq!(name("^Given"), "Given");
    }

    #[test]
    fn a_long_line_goes_on_in_the_next_and_nothing_of_it_is_lost() {
        assert_eq!(wrapped("short (line)"), ["short (line)"]);
        assert_eq!(wrapped(""), [""]);
        let words = "phase_ap_incomplete (this phase does not cover the whole liver; scan the whole \
                     liver in each phase of the examination)";
        let lines = wrapped(words);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with(SET_IN), "{lines:?}");
        let joined = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        assert_eq!(joined, words);
        // A word that no line holds, of letters that the font lacks.
        let lines = wrapped(&"\u{5c71}".repeat(70));
        assert!(lines.len() > 2 && lines.iter().all(|line| width_of(line) <= LETTERS), "{lines:?}");
        assert_eq!(lines.concat().matches('\u{5c71}').count(), 70);
    }
}
