//! What names a patient, and whether a text does.
//!
//! Owns what counts as a name of this patient. Where in doubt a text goes: it is lost to whoever looks into a
//! failure, and a name that stays is a patient's.
//!
//! The rule. A name, number or date of birth is told by its letters and digits alone, in small letters, so
//! that `PID-778899`, `pid 778899` and `PID778899` are one. Of each that the object holds there count
//!
//! - the whole of it;
//! - every run of letters and digits in it (`Doemann,Johannes Sr.` has three), but for what many have: a
//!   single character, a number below four digits (`12` of `G-12` stands in half of all texts), the letters
//!   before a number below four (`CT` of `CT-4711`), and a title behind the first word (`Sr`).
//!
//! A text names the patient if one of these stands in it as neighbouring whole words (`G-551` and `g 551` for
//! `G551`). In a scanner's texts one of four characters counts within a word too (`CTMary`), and one of
//! letters and digits across whatever stands between. Not so in codes, in their meanings and in this program's
//! own texts, whose words nobody makes of names: `PRIMARY` holds no Mary. Codes are often as short as names
//! (`CT`, `HU`), so that there only four characters count.

use std::collections::BTreeSet;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

/// OtherPatientIDs: retired, and still written.
const OTHER_PATIENT_IDS: Tag = Tag(0x0010, 0x1000);

/// Who is named by name.
const PEOPLE: [Tag; 3] =
    [tags::PATIENT_NAME, tags::OTHER_PATIENT_NAMES, tags::REFERRING_PHYSICIAN_NAME];
/// Numbers of a patient or an examination.
const NUMBERS: [Tag; 4] =
    [tags::PATIENT_ID, OTHER_PATIENT_IDS, tags::ACCESSION_NUMBER, tags::STUDY_ID];
/// What stands behind or before many people's names.
const TITLES: [&str; 10] = ["dr", "prof", "mr", "mrs", "ms", "sr", "jr", "ii", "iii", "iv"];

/// Shorter words name nobody.
const SHORTEST: usize = 2;
/// Shorter whole numbers name nobody.
const SHORTEST_NUMBER: usize = 3;
/// Shorter ones are part of many words and numbers.
const SHORTEST_PART: usize = 4;

/// Texts that are codes, whatever their type.
const CODES: [Tag; 3] = [tags::RESCALE_TYPE, tags::CODE_VALUE, tags::CODING_SCHEME_DESIGNATOR];
/// Objects that this program makes.
const OURS: [&str; 4] = [
    uids::SEGMENTATION_STORAGE,
    uids::COMPREHENSIVE3_DSR_STORAGE,
    uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::ENCAPSULATED_PDF_STORAGE,
];

/// What names a patient.
pub(super) struct Names {
    /// Letters and digits alone, in small letters.
    names: BTreeSet<String>,
    /// Year, month and day of birth.
    born: Option<[u32; 3]>,
    /// Whether the object is one of this program's: its texts are known, and hold a name only as a word.
    is_ours: bool,
}

impl Names {
    /// Of the patient that an object says it is of.
    pub(super) fn of(object: &InMemDicomObject) -> Names {
        let text = |tag: Tag| {
            let text = object.get(tag).and_then(|element| element.to_str().ok());
            text.unwrap_or_default().trim_matches(['\0', ' ']).to_owned()
        };
        let others = object.get(tags::OTHER_PATIENT_I_DS_SEQUENCE).and_then(|it| it.items());
        let others = others.into_iter().flatten().filter_map(|item| item.get(tags::PATIENT_ID));
        let others = others.filter_map(|element| element.to_str().ok());
        let born = text(tags::PATIENT_BIRTH_DATE);
        let part = |from: usize, to: usize| born.get(from..to)?.parse().ok();
        let date = part(0, 4).zip(part(4, 6)).zip(part(6, 8));
        let date = date.map(|((year, month), day)| [year, month, day]);
        let mut names = BTreeSet::new();
        names.extend(PEOPLE.iter().flat_map(|tag| of_person(&text(*tag))));
        names.extend(NUMBERS.iter().flat_map(|tag| of_number(&text(*tag))));
        names.extend(others.flat_map(|text| of_number(&text)));
        names.extend(of_number(&born));
        names.extend(date.into_iter().flat_map(written_together));
        Names { names, born: date, is_ours: OURS.contains(&text(tags::SOP_CLASS_UID).as_str()) }
    }

    /// Whether a text names the patient.
    pub(super) fn are_in(&self, tag: Tag, vr: VR, text: &str) -> bool {
        let text = text.to_lowercase();
        let words = runs(&text);
        let is_code = vr == VR::CS || CODES.contains(&tag);
        let is_known = is_code || self.is_ours || tag == tags::CODE_MEANING;
        let whole = words.concat();
        let stands = |name: &String| {
            let length = name.chars().count();
            let counts = !is_code || length >= SHORTEST_PART;
            let within = !is_known && length >= SHORTEST_PART;
            (counts && stands_in(name, &words))
                || (within && (text.contains(name) || (is_mixed(name) && whole.contains(name))))
        };
        self.names.iter().any(stands) || self.born.is_some_and(|born| holds_date(&text, born))
    }
}

/// Words of letters and digits.
fn runs(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty()).collect()
}

fn is_number(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit())
}

/// Whether both letters and digits are in it: no words that follow each other make such a one by chance.
fn is_mixed(name: &str) -> bool {
    name.chars().any(|c| c.is_ascii_digit()) && !is_number(name)
}

/// Whether words that follow each other are together this name.
fn stands_in(name: &str, words: &[&str]) -> bool {
    (0..words.len()).any(|from| {
        let mut rest = name;
        for word in &words[from..] {
            match rest.strip_prefix(word) {
                Some("") => return true,
                Some(left) => rest = left,
                None => return false,
            }
        }
        false
    })
}

/// The values of a text, and their spellings, each without what is no letter and no digit.
fn values(text: &str) -> Vec<Vec<String>> {
    let each = text.split(['\\', '=']).map(str::to_lowercase);
    each.map(|value| runs(&value).into_iter().map(str::to_owned).collect()).collect()
}

/// What of a person's name names them.
fn of_person(text: &str) -> Vec<String> {
    let counts = |(at, word): (usize, &String)| {
        let length = word.chars().count();
        let is_title = at > 0 && TITLES.contains(&word.as_str());
        length >= if is_number(word) { SHORTEST_PART } else { SHORTEST } && !is_title
    };
    let mut names = Vec::new();
    for words in values(text) {
        names.extend(words.iter().enumerate().filter(|it| counts(*it)).map(|(_, w)| w.clone()));
        names.push(words.concat());
    }
    names.retain(|name| name.chars().count() >= SHORTEST);
    names
}

/// What of a number names a patient or an examination.
fn of_number(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for words in values(text) {
        let whole = words.concat();
        let shortest = if is_number(&whole) { SHORTEST_NUMBER } else { SHORTEST };
        let part = |word: &&String| {
            word.chars().count() >= if is_mixed(word) { SHORTEST } else { SHORTEST_PART }
        };
        names.extend(words.iter().filter(part).cloned());
        names.extend(Some(whole).filter(|whole| whole.chars().count() >= shortest));
    }
    names
}

/// A date in eight digits, by the orders that people write it in.
fn written_together([year, month, day]: [u32; 3]) -> [String; 3] {
    [
        format!("{year:04}{month:02}{day:02}"),
        format!("{day:02}{month:02}{year:04}"),
        format!("{month:02}{day:02}{year:04}"),
    ]
}

/// Whether a text holds this year, month and day one after the other, in any order: the year with two
/// digits or four, the month as a number or by its first letters.
fn holds_date(text: &str, [year, month, day]: [u32; 3]) -> bool {
    let is_break = |a: char, b: char| a.is_ascii_digit() != b.is_ascii_digit();
    let mut parts: Vec<String> = Vec::new();
    let mut before = ' ';
    for c in text.chars() {
        if c.is_alphanumeric() {
            match parts.last_mut() {
                Some(part) if before.is_alphanumeric() && !is_break(before, c) => part.push(c),
                _ => parts.push(c.to_string()),
            }
        }
        before = c;
    }
    let number = |part: &String| part.parse::<u32>().ok();
    let is_year = |part: &String| number(part).is_some_and(|n| n == year || n == year % 100);
    let is_day = |part: &String| number(part) == Some(day);
    let is_month = |part: &String| number(part) == Some(month) || month_of(part) == Some(month);
    parts.windows(3).any(|three| {
        const ORDERS: [[usize; 3]; 6] =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        ORDERS
            .iter()
            .any(|[y, m, d]| is_year(&three[*y]) && is_month(&three[*m]) && is_day(&three[*d]))
    })
}

/// The month whose name a word begins, in English and German.
fn month_of(word: &str) -> Option<u32> {
    const MONTHS: [&[&str]; 12] = [
        &["jan", "j\u{e4}n"],
        &["feb"],
        &["mar", "m\u{e4}r", "mrz"],
        &["apr"],
        &["may", "mai"],
        &["jun"],
        &["jul"],
        &["aug"],
        &["sep"],
        &["oct", "okt"],
        &["nov"],
        &["dec", "dez"],
    ];
    let found = MONTHS.iter().position(|names| names.iter().any(|name| word.starts_with(name)));
    found.map(|at| at as u32 + 1)
}

#[cfg(test)]
mod tests {
    use dicom_core::DataElement;
    use dicom_core::value::{DataSetSequence, PrimitiveValue};

    use super::*;

    fn of(elements: &[(Tag, VR, &str)]) -> Names {
        let element = |(tag, vr, text): &(Tag, VR, &str)| {
            DataElement::new(*tag, *vr, PrimitiveValue::from(*text))
        };
        Names::of(&InMemDicomObject::from_element_iter(elements.iter().map(element)))
    }

    fn lo(names: &Names, text: &str) -> bool {
        names.are_in(tags::STUDY_DESCRIPTION, VR::LO, text)
    }

    #[test]
    fn a_name_is_found_as_a_word_and_a_long_one_in_words_that_nobody_knows() {
        let name = (tags::PATIENT_NAME, VR::PN, "Li^Mary^Ding^Hu");
        let born = (tags::PATIENT_BIRTH_DATE, VR::DA, "19630709");
        let scanner = of(&[name, born]);
        for text in [
            "CT of Li, An",
            "li_an",
            "CTMary",
            "for LI",
            "iv 09.07.1963",
            "born 1963-7-9",
            "x 09071963",
        ] {
            assert!(lo(&scanner, text), "{text}");
        }
        for text in ["Liver", "axial", "", "2019-07-09", "1963.07"] {
            assert!(!lo(&scanner, text), "{text}");
        }
        // Codes are words of the standard: PRIMARY holds no Mary, and HU is no patient.
        let code = |tag, text: &str| scanner.are_in(tag, VR::CS, text);
        assert!(!code(tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY") && code(tags::IMAGE_TYPE, "A\\MARY"));
        assert!(!scanner.are_in(tags::RESCALE_TYPE, VR::LO, "HU"));
        assert!(!scanner.are_in(tags::CODE_MEANING, VR::LO, "Finding"));
        let ours = of(&[name, (tags::SOP_CLASS_UID, VR::UI, uids::SEGMENTATION_STORAGE)]);
        assert!(!lo(&ours, "suspected finding 1") && lo(&ours, "of Ding"));
    }

    #[test]
    fn a_name_that_somebody_wrote_freely_is_one_all_the_same() {
        let names = of(&[
            (tags::PATIENT_NAME, VR::PN, "Doemann,Johannes Sr."),
            (tags::PATIENT_BIRTH_DATE, VR::DA, "19700101"),
        ]);
        for text in ["K Doemann", "coil Johannes", "for J.DOEMANN", "IV 01.01.1970", "Doe-mann"] {
            assert!(lo(&names, text), "{text}");
        }
        for text in ["Jan 1, 1970 model", "born 1 January 1970", "b. 01.01.70", "1JAN1970"] {
            assert!(lo(&names, text), "{text}");
        }
        assert!(names.are_in(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\DOEMANN"));
        assert!(names.are_in(tags::FILTER_TYPE, VR::CS, "1970-01-01"));
        // A title is no name, unless it is the first word.
        for text in ["SR report", "Sr", "IV contrast", "70 kV 01"] {
            assert!(!lo(&names, text), "{text}");
        }
        let family = of(&[(tags::PATIENT_NAME, VR::PN, "Ii^Naomasa^^Dr")]);
        assert!(lo(&family, "for Ii") && lo(&family, "naomasa") && !lo(&family, "Dr. on call"));
    }

    #[test]
    fn a_number_is_found_with_and_without_its_punctuation() {
        let names = of(&[
            (tags::PATIENT_ID, VR::LO, "G-551"),
            (tags::ACCESSION_NUMBER, VR::SH, "PID-778899"),
            (tags::STUDY_ID, VR::SH, "CT-12"),
        ]);
        for text in
            ["IV G551", "g 551", "G-551", "xG-551x", "PID778899", "pid/778899", "no 778899", "CT12"]
        {
            assert!(lo(&names, text), "{text}");
        }
        // What many have is nobody's.
        for text in ["CT Abdomen", "551", "PID 5", "g", "12 mm", "120 kV 1.5 mm"] {
            assert!(!lo(&names, text), "{text}");
        }
        let ours = of(&[
            (tags::PATIENT_ID, VR::LO, "G-551"),
            (tags::SOP_CLASS_UID, VR::UI, uids::SEGMENTATION_STORAGE),
        ]);
        assert!(lo(&ours, "of G551") && lo(&ours, "of G-551") && !lo(&ours, "finding 551"));
        let plain = of(&[(tags::PATIENT_ID, VR::LO, "4711"), (tags::STUDY_ID, VR::SH, "1")]);
        assert!(lo(&plain, "pat4711") && lo(&plain, "47-11") && !lo(&plain, "finding 1"));
        assert!(!lo(&plain, "147 11.5"), "digits of several numbers are none of theirs");
    }

    #[test]
    fn other_numbers_of_a_patient_name_them_too() {
        let text = |tag, text: &str| DataElement::new(tag, VR::LO, PrimitiveValue::from(text));
        let other = InMemDicomObject::from_element_iter([text(tags::PATIENT_ID, "MRN-77")]);
        let others = DataSetSequence::from(vec![other]);
        let object = InMemDicomObject::from_element_iter([
            text(OTHER_PATIENT_IDS, "A12\\B34"),
            DataElement::new(tags::OTHER_PATIENT_I_DS_SEQUENCE, VR::SQ, others),
        ]);
        let names = Names::of(&object).names;
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a12", "b34", "mrn77"]);
    }
}
