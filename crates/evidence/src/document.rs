//! An encapsulated PDF of the report, for archives whose readers open documents.
//!
//! Owns the PDF, which holds text and pictures and nothing active, and the modules around it (PS3.3
//! section A.45.1). What the lines say comes in; they never name a patient.

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
    let pdf = pdf(lines, pictures)?;
    let mut object = Dataset::new();
    source.put_study(&mut object);
    maker.put_series(&mut object, Series::Document, identity);
    object.texts(&[
        (tags::CONVERSION_TYPE, VR::CS, "WSD"),
        (tags::INSTANCE_NUMBER, VR::IS, "1"),
        (tags::ACQUISITION_DATE_TIME, VR::DT, ""),
        (tags::BURNED_IN_ANNOTATION, VR::CS, "NO"),
        (tags::LATERALITY, VR::CS, ""),
        (tags::DOCUMENT_TITLE, VR::ST, "Suspected findings of the liver; not a diagnosis"),
        (tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT, VR::LO, "application/pdf"),
    ]);
    object.items(tags::CONCEPT_NAME_CODE_SEQUENCE, Vec::new());
    object.longs(tags::ENCAPSULATED_DOCUMENT_LENGTH, &[pdf.len() as u32]);
    object.bytes(tags::ENCAPSULATED_DOCUMENT, pdf);
    object.into_object(uids::ENCAPSULATED_PDF_STORAGE, identity.uid("document"))
}

/// The file; objects are numbered from 1: catalogue, pages, font, then what each page needs.
fn pdf(lines: &[String], pictures: &[Picture<'_>]) -> Result<Vec<u8>, WriteError> {
    let mut objects: Vec<Vec<u8>> = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        Vec::new(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>".to_vec(),
    ];
    let mut pages = Vec::new();
    let rows = ((PAGE[1] - 2.0 * MARGIN) / LINE) as usize;
    for page in lines.chunks(rows) {
        let content = page.iter().enumerate().map(|(n, line)| {
            let y = PAGE[1] - MARGIN - LINE * (n + 1) as f64;
            format!("BT /F 10 Tf {MARGIN} {y:.1} Td ({}) Tj ET\n", escaped(line))
        });
        let content = stream("", content.collect::<String>().as_bytes(), &mut objects)?;
        pages.push(page_of(content, "/Font << /F 3 0 R >>", &mut objects));
    }
    for picture in pictures {
        let head = format!(
            "/Type /XObject /Subtype /Image /Width {} /Height {} /ColorSpace /DeviceRGB \
             /BitsPerComponent 8 ",
            picture.width, picture.height
        );
        let image = stream(&head, picture.rgb, &mut objects)?;
        let room = PAGE.map(|side| side - 2.0 * MARGIN);
        let scale = (room[0] / picture.width as f64).min(room[1] / picture.height as f64);
        let size = [picture.width as f64 * scale, picture.height as f64 * scale];
        let low = PAGE[1] - MARGIN - size[1];
        let drawn = format!("q {:.2} 0 0 {:.2} {MARGIN} {low:.2} cm /I Do Q\n", size[0], size[1]);
        let content = stream("", drawn.as_bytes(), &mut objects)?;
        pages.push(page_of(content, &format!("/XObject << /I {image} 0 R >>"), &mut objects));
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

/// A line as PDF has it: what could end the text is written otherwise, what the font lacks is a
/// question mark, what does not fit is cut.
fn escaped(line: &str) -> String {
    let fits = line.chars().take(LETTERS);
    fits.flat_map(|c| match c {
        '(' | ')' | '\\' => vec!['\\', c],
        ' '..='~' => vec![c],
        _ => vec!['?'],
    })
    .collect()
}

#[cfg(test)]
mod tests {
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
        assert_eq!(escaped("a(b)\\é"), "a\\(b\\)\\\\?");
    }
}
