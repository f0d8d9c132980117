//! Elements into a data set, a data set into a file.
//!
//! Owns how values of ours are written. Knows nothing of what they mean.

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use crate::Object;

/// A decimal string has at most so many characters (PS3.5 section 6.2).
const MAX_DECIMAL: usize = 16;
/// What our files are told by in the file meta group: the project's UID and name.
const IMPLEMENTATION_NAME: &str = "HEPALERT";

/// Why an object cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Nothing is in any segment: a segmentation has at least one frame.
    #[error("there is nothing to segment: no lesion and no liver")]
    Empty,
    /// More rows, columns, segments or frames than the format can count.
    #[error("{0}: more than DICOM can count")]
    TooLarge(&'static str),
    /// The library refused.
    #[error("an object cannot be encoded as DICOM: {0}")]
    Encode(String),
}

/// A data set or an item that is being filled.
#[derive(Debug)]
pub(crate) struct Dataset(InMemDicomObject);

impl Dataset {
    pub(crate) fn new() -> Dataset {
        Dataset(InMemDicomObject::new_empty())
    }

    /// A new item with these texts.
    pub(crate) fn item(texts: &[(Tag, VR, &str)]) -> Dataset {
        let mut item = Dataset::new();
        item.texts(texts);
        item
    }

    pub(crate) fn text(&mut self, tag: Tag, vr: VR, text: &str) {
        // Without a value, and not with one of no length, is how type 2 says "not known".
        let value = match text {
            "" => PrimitiveValue::Empty,
            text => PrimitiveValue::from(text),
        };
        self.0.put(DataElement::new(tag, vr, value));
    }

    pub(crate) fn texts(&mut self, texts: &[(Tag, VR, &str)]) {
        for (tag, vr, text) in texts {
            self.text(*tag, *vr, text);
        }
    }

    pub(crate) fn whole(&mut self, tag: Tag, number: usize) {
        self.text(tag, VR::IS, &number.to_string());
    }

    pub(crate) fn decimals(&mut self, tag: Tag, numbers: &[f64]) {
        let text: Vec<String> = numbers.iter().map(|number| decimal(*number)).collect();
        self.text(tag, VR::DS, &text.join("\\"));
    }

    pub(crate) fn short(&mut self, tag: Tag, number: u16) {
        self.0.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
    }

    pub(crate) fn shorts(&mut self, tag: Tag, numbers: &[u16]) {
        let value = PrimitiveValue::U16(numbers.iter().copied().collect());
        self.0.put(DataElement::new(tag, VR::US, value));
    }

    pub(crate) fn longs(&mut self, tag: Tag, numbers: &[u32]) {
        let value = PrimitiveValue::U32(numbers.iter().copied().collect());
        self.0.put(DataElement::new(tag, VR::UL, value));
    }

    pub(crate) fn floats(&mut self, tag: Tag, numbers: &[f32]) {
        let value = PrimitiveValue::F32(numbers.iter().copied().collect());
        self.0.put(DataElement::new(tag, VR::FL, value));
    }

    pub(crate) fn tag(&mut self, tag: Tag, value: Tag) {
        let value = PrimitiveValue::Tags([value].into_iter().collect());
        self.0.put(DataElement::new(tag, VR::AT, value));
    }

    pub(crate) fn bytes(&mut self, tag: Tag, mut bytes: Vec<u8>) {
        // Every value has an even length (PS3.5 section 7.1).
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        self.0.put(DataElement::new(tag, VR::OB, PrimitiveValue::U8(bytes.into())));
    }

    pub(crate) fn items(&mut self, tag: Tag, items: Vec<Dataset>) {
        let items: Vec<InMemDicomObject> = items.into_iter().map(|item| item.0).collect();
        self.0.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
    }

    /// A sequence of one item.
    pub(crate) fn nested(&mut self, tag: Tag, item: Dataset) {
        self.items(tag, vec![item]);
    }

    /// The file that this data set makes.
    pub(crate) fn into_object(
        mut self,
        sop_class: &'static str,
        sop_uid: String,
    ) -> Result<Object, WriteError> {
        self.text(tags::SOP_CLASS_UID, VR::UI, sop_class);
        self.text(tags::SOP_INSTANCE_UID, VR::UI, &sop_uid);
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(sop_class)
            .media_storage_sop_instance_uid(&sop_uid)
            .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
            .implementation_version_name(IMPLEMENTATION_NAME);
        let failed = |error: &dyn std::fmt::Display| WriteError::Encode(error.to_string());
        let file = self.0.with_meta(meta).map_err(|error| failed(&error))?;
        let mut bytes = Vec::new();
        file.write_all(&mut bytes).map_err(|error| failed(&error))?;
        Ok(Object { sop_class, sop_uid, bytes })
    }
}

/// As many decimals as fit into a decimal string, up to six of a unit: a thousandth of a
/// micrometre.
pub(crate) fn decimal(value: f64) -> String {
    for decimals in (0..=9).rev() {
        let text = format!("{value:.decimals$}");
        let text = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => &text,
        };
        if text.len() <= MAX_DECIMAL {
            return if text == "-0" { "0".to_owned() } else { text.to_owned() };
        }
    }
    format!("{value:.8e}")
}

/// Text that fits a value of at most so many characters, cut where it does not; the characters
/// that would end a value are taken out.
pub(crate) fn held_to(text: &str, most: usize) -> String {
    let plain = text.chars().map(|c| if c == '\\' || c.is_control() { ' ' } else { c });
    plain.take(most).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_fit_sixteen_characters() {
        for (value, text) in [(0.7, "0.7"), (-0.0, "0"), (100.0, "100"), (1e300, "1.00000000e300")]
        {
            assert_eq!(decimal(value), text);
        }
        assert!(decimal(-123_456_789.123_456_7).len() <= MAX_DECIMAL);
        assert_eq!(decimal(-1.0 / 3.0), "-0.333333333");
    }

    #[test]
    fn a_text_has_no_second_value() {
        assert_eq!(held_to("a\\b\nc", 16), "a b c");
        assert_eq!(held_to("äöü", 2), "äö");
    }
}
