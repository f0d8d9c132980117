//! An object without its patient: the Basic Application Level Confidentiality Profile (PS3.15 annex E).
//!
//! Owns what becomes of every attribute, by the standard's own table, and that a UID becomes the same other
//! UID wherever it stands. Private attributes, curves and overlays go; so does what no table can know:
//! attributes that are in no dictionary, names of people and texts outside the table that say what names
//! this patient elsewhere. Pixels stay as they are, so that what is burned into them stays too. Refuses
//! nothing and knows no file.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use dicom_core::dictionary::DataDictionary;
use dicom_core::value::{DataSetSequence, PrimitiveValue, Value};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject, from_reader};

use crate::dataset::WriteError;
use hepalert_voxels::volume::dicom::is_uid;
use names::Names;

mod names;

/// The table: tag and action, one a line.
const PROFILE: &str = include_str!("profile.txt");
/// Edition of the table.
const METHOD: &str = "PS3.15 basic profile, table of 2026c";

/// What becomes of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Dummy,
    Empty,
    Remove,
    MapUid,
}

/// How names are replaced: the same secret gives the same replacements.
#[derive(Clone, Copy)]
pub struct Pseudonyms<'a> {
    /// Another UID for a UID.
    pub uid: &'a dyn Fn(&str) -> String,
    /// A pseudonym for a PatientID.
    pub patient: &'a dyn Fn(&str) -> String,
}

fn profile() -> &'static BTreeMap<Tag, Action> {
    static TABLE: OnceLock<BTreeMap<Tag, Action>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let row = |line: &str| {
            let (tag, action) = line.split_once(' ')?;
            let tag = u32::from_str_radix(tag, 16).ok()?;
            let action = match action {
                "D" => Action::Dummy,
                "Z" => Action::Empty,
                "X" => Action::Remove,
                "U" => Action::MapUid,
                _ => return None,
            };
            Some((Tag((tag >> 16) as u16, tag as u16), action))
        };
        PROFILE.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect()
    })
}

/// A DICOM file without its patient.
///
/// # Errors
/// [`WriteError::Encode`] if it cannot be read or written.
pub fn file(bytes: &[u8], names: Pseudonyms<'_>) -> Result<Vec<u8>, WriteError> {
    let failed = |error: &dyn std::fmt::Display| WriteError::Encode(error.to_string());
    let read = from_reader(bytes).map_err(|error| failed(&error))?;
    let syntax = read.meta().transfer_syntax().to_owned();
    let object = read.into_inner();
    let text = |tag: Tag| {
        let text = object.get(tag).and_then(|element| element.to_str().ok());
        text.map(|text| text.trim_matches(['\0', ' ']).to_owned()).unwrap_or_default()
    };
    let patient = (names.patient)(&text(tags::PATIENT_ID));
    let class = text(tags::SOP_CLASS_UID);
    let mut left = data_set(&object, names, &Names::of(&object));
    let mut put = |tag, vr, text: &str| {
        left.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
    };
    put(tags::PATIENT_ID, VR::LO, &patient);
    put(tags::PATIENT_NAME, VR::PN, &patient);
    put(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES");
    put(tags::DEIDENTIFICATION_METHOD, VR::LO, METHOD);
    put(tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, VR::CS, "REMOVED");
    let code = InMemDicomObject::from_element_iter(
        [
            (tags::CODE_VALUE, VR::SH, "113100"),
            (tags::CODING_SCHEME_DESIGNATOR, VR::SH, "DCM"),
            (tags::CODE_MEANING, VR::LO, "Basic Application Confidentiality Profile"),
        ]
        .map(|(tag, vr, text)| DataElement::new(tag, vr, PrimitiveValue::from(text))),
    );
    let method = DataSetSequence::from(vec![code]);
    left.put(DataElement::new(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE, VR::SQ, method));
    let instance = (names.uid)(&text(tags::SOP_INSTANCE_UID));
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(instance)
        .transfer_syntax(syntax);
    let file = left.with_meta(meta).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).map_err(|error| failed(&error))?;
    Ok(bytes)
}

/// Whether an attribute that is in no table may stay: known to the standard, no person's name, and no
/// text that names this patient.
fn is_harmless(
    tag: Tag,
    vr: VR,
    value: &Value<InMemDicomObject, Vec<u8>>,
    patient: &Names,
) -> bool {
    let names_somebody = || patient.are_in(tag, vr, &value.to_str().unwrap_or_default());
    is_known(tag) && !matches!(vr, VR::PN | VR::UN) && !(is_text(vr) && names_somebody())
}

fn is_known(tag: Tag) -> bool {
    StandardDataDictionary.by_tag(tag).is_some()
}

const fn is_text(vr: VR) -> bool {
    matches!(vr, VR::AE | VR::CS | VR::LO | VR::LT | VR::SH | VR::ST | VR::UC | VR::UR | VR::UT)
}

fn data_set(object: &InMemDicomObject, names: Pseudonyms<'_>, patient: &Names) -> InMemDicomObject {
    let mut left = InMemDicomObject::new_empty();
    for element in object {
        let tag = element.header().tag;
        let group = tag.group();
        // Private ones, group lengths, curves and overlays.
        let curves = [0x5000, 0x6000].contains(&(group & 0xff00));
        if group % 2 == 1 || tag.element() == 0 || curves || group == 0x0002 {
            continue;
        }
        let vr = element.header().vr;
        let kept = match (profile().get(&tag), element.value()) {
            (Some(Action::Remove), _) => continue,
            (Some(Action::Empty), _) => Value::from(PrimitiveValue::Empty),
            (Some(Action::Dummy), Value::Sequence(_)) => Value::Sequence(DataSetSequence::empty()),
            (Some(Action::Dummy), _) => Value::from(dummy(vr)),
            (_, Value::Sequence(items)) => {
                let items: Vec<_> =
                    items.items().iter().map(|item| data_set(item, names, patient)).collect();
                Value::Sequence(DataSetSequence::from(items))
            }
            (Some(Action::MapUid), Value::Primitive(value)) => mapped(value, names),
            // In the table or not: a UID of the standard stays what it is.
            (None, Value::Primitive(value)) if vr == VR::UI => mapped(value, names),
            (_, value) if is_harmless(tag, vr, value, patient) => value.clone(),
            (_, value) if vr == VR::CS && is_known(tag) => {
                spared(tag, value, patient).unwrap_or_else(|| Value::from(dummy(vr)))
            }
            // The standard may require it: what names somebody is replaced, and the object stays whole.
            _ if is_text(vr) && is_known(tag) => Value::from(dummy(vr)),
            _ => continue,
        };
        left.put(DataElement::new(tag, vr, kept));
    }
    left
}

/// A code of several values without those that name the patient: of the others each means something at its
/// place, as in ImageType.
fn spared(
    tag: Tag,
    value: &Value<InMemDicomObject, Vec<u8>>,
    patient: &Names,
) -> Option<Value<InMemDicomObject, Vec<u8>>> {
    let text = value.to_str().ok()?;
    let value = |one| if patient.are_in(tag, VR::CS, one) { "REMOVED" } else { one };
    let left = text.split('\\').map(value).collect::<Vec<_>>().join("\\");
    // A date over several values is in none of them.
    let is_spared = text.contains('\\') && !patient.are_in(tag, VR::CS, &left);
    is_spared.then(|| Value::from(PrimitiveValue::from(left)))
}

fn mapped(value: &PrimitiveValue, names: Pseudonyms<'_>) -> Value<InMemDicomObject, Vec<u8>> {
    let uids: Vec<String> = value
        .to_multi_str()
        .iter()
        .map(|uid| uid.trim_matches(['\0', ' ']))
        .filter(|uid| is_uid(uid))
        .map(|uid| (names.uid)(uid))
        .collect();
    Value::from(PrimitiveValue::from(uids.join("\\")))
}

/// Something that its type allows and that says nothing.
fn dummy(vr: VR) -> PrimitiveValue {
    match vr {
        VR::DA => PrimitiveValue::from("19000101"),
        VR::TM => PrimitiveValue::from("000000"),
        VR::DT => PrimitiveValue::from("19000101000000"),
        VR::UI => PrimitiveValue::from("2.25.0"),
        VR::AS => PrimitiveValue::from("000Y"),
        VR::DS | VR::IS => PrimitiveValue::from("0"),
        VR::AE | VR::CS | VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UT => {
            PrimitiveValue::from("REMOVED")
        }
        _ => PrimitiveValue::Empty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maker::Identity;
    use crate::samples::{finding, maker, source};
    use crate::segmentation;
    use hepalert_voxels::volume::Grid;
    use hepalert_voxels::volume::dicom::write::uid_of;
    use ndarray::Array3;

    fn mapped_uid(uid: &str) -> String {
        match uid.starts_with("1.2.840.10008.") {
            true => uid.to_owned(),
            false => uid_of(&format!("test {uid}")),
        }
    }

    fn test() -> Pseudonyms<'static> {
        Pseudonyms { uid: &mapped_uid, patient: &|_| "PSEUDONYM".to_owned() }
    }

    #[test]
    fn the_table_is_whole() {
        assert!(profile().len() > 600, "{}", profile().len());
        assert_eq!(profile().get(&tags::PATIENT_BIRTH_DATE), Some(&Action::Empty));
        assert_eq!(profile().get(&tags::SOP_INSTANCE_UID), Some(&Action::MapUid));
        assert_eq!(profile().get(&tags::INSTITUTION_NAME), Some(&Action::Dummy));
        assert_eq!(profile().get(&tags::PIXEL_DATA), None);
    }

    #[test]
    fn what_no_table_knows_goes_where_it_may_name_somebody() {
        let text = |tag, vr, text: &str| DataElement::new(tag, vr, PrimitiveValue::from(text));
        let hidden = || {
            [
                // In no dictionary; a name where the table has none; the patient in a free text; private.
                text(Tag(0x0018, 0x0003), VR::LO, "secret 1"),
                text(Tag(0x0008, 0x0119), VR::UN, "secret 2"),
                text(tags::VERIFYING_OBSERVER_NAME, VR::PN, "secret 3"),
                text(tags::CONVOLUTION_KERNEL, VR::SH, "kernel of RIEDEL"),
                text(tags::FILTER_TYPE, VR::SH, "WEDGE 471108"),
                text(Tag(0x0009, 0x1001), VR::LO, "secret 4"),
                text(tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.3.4"),
            ]
        };
        let item = InMemDicomObject::from_element_iter(hidden());
        let mut object = InMemDicomObject::from_element_iter(hidden());
        let nested = DataSetSequence::from(vec![item]);
        object.put(DataElement::new(tags::CT_EXPOSURE_SEQUENCE, VR::SQ, nested));
        object.put(text(tags::PATIENT_NAME, VR::PN, "Riedel^Anna"));
        object.put(text(tags::PATIENT_ID, VR::LO, "471108"));
        object.put(text(tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.2"));
        object.put(text(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.5"));
        object.put(text(tags::MODALITY, VR::CS, "CT"));
        object.put(text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL\\RIEDEL"));
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid("1.2.840.10008.5.1.4.1.1.2")
            .media_storage_sop_instance_uid("1.2.3.5")
            .transfer_syntax("1.2.840.10008.1.2.1");
        let mut bytes = Vec::new();
        object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
        let clean = file(&bytes, test()).unwrap();
        let said = String::from_utf8_lossy(&clean).to_lowercase();
        for word in ["secret", "riedel", "anna", "471108", "1.2.3.4", "1.2.3.5"] {
            assert!(!said.contains(word), "{word}");
        }
        let read = from_reader(&clean[..]).unwrap();
        assert_eq!(read.element(tags::MODALITY).unwrap().to_str().unwrap(), "CT");
        // The first values mean something to whoever reads the image.
        let kind = read.element(tags::IMAGE_TYPE).unwrap().to_str().unwrap().into_owned();
        assert_eq!(kind, "ORIGINAL\\PRIMARY\\AXIAL\\REMOVED");
        assert!(read.element(tags::SOP_CLASS_UID).unwrap().to_str().unwrap().ends_with("1.1.2"));
        assert!(read.element(tags::CT_EXPOSURE_SEQUENCE).is_ok());
    }

    #[test]
    fn a_segmentation_still_refers_to_its_images_and_to_nobody() {
        let grid = Grid::axial([2, 3, 5], [5.0, 1.0, 1.0], [0.0; 3]);
        let mask = Array3::from_elem((1, 2, 2), true);
        let source = source(2);
        let findings = [finding(1, [0, 0, 0], &mask)];
        let content = segmentation::Content {
            source: &source,
            grid: &grid,
            findings: &findings,
            organs: &[],
        };
        let identity = Identity::new("1.2.3", "aa", 1, "bb");
        let object = segmentation::write(&content, &maker(), &identity).unwrap();
        let clean = file(&object.bytes, test()).unwrap();
        let says = |wanted: &[u8]| clean.windows(wanted.len()).any(|window| window == wanted);
        assert!(!says("Müller".as_bytes()) && !says(b"20261130"));
        assert!(!says(b"1.2.3.1\0") && says(mapped_uid("1.2.3.1").as_bytes()));
        let read = from_reader(&clean[..]).unwrap();
        let text = |tag| read.element(tag).unwrap().to_str().unwrap().into_owned();
        assert_eq!(text(tags::PATIENT_IDENTITY_REMOVED), "YES");
        assert_eq!(text(tags::STUDY_INSTANCE_UID), mapped_uid("1.2.3"));
        assert_eq!(file(&object.bytes, test()).unwrap(), clean, "the same again");
    }
}
