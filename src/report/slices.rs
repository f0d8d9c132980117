//! Slices as a reader of the archive finds them again: by number, by UID, by height.
//!
//! Owns the way from a slice of the study as it was analysed to the one that was stored. Knows
//! nothing of what is seen on it.

use serde::{Deserialize, Serialize};

use hepalert_pictures::findings::from_head;
use hepalert_study::files::SliceName;
use hepalert_study::study::Back;

/// The slice that shows most of a lesion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeySlice {
    /// Its place in the label maps beside the report, from 0.
    pub index: usize,
    /// The height of its centre in the patient, towards the head, in mm.
    pub z_mm: f64,
    /// Its number on pictures and on the page where there is no other: from 1, the uppermost first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<usize>,
    /// InstanceNumber, where the images were DICOM and stand as they were stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_number: Option<i64>,
    /// SOPInstanceUID, as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sop_instance_uid: Option<String>,
}

/// The slices that a study was analysed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slices<'a> {
    /// The way back to the order of storage.
    pub back: &'a Back,
    /// How the archive knows them, in the order of storage; none where it does not.
    pub names: &'a [SliceName],
}

impl Slices<'_> {
    /// The stored slice of one that was analysed; none where slices were stored along another axis.
    pub(crate) fn stored(&self, z: usize) -> Option<usize> {
        let box_of_slice = self.back.slice(z);
        let [[lo, ..], [hi, ..]] = box_of_slice;
        (hi == lo + 1).then_some(lo)
    }

    /// InstanceNumber of a slice that was analysed.
    pub(crate) fn instance_number(&self, z: usize) -> Option<i64> {
        self.names.get(self.stored(z)?)?.instance_number
    }

    /// What a report says of a slice that was analysed.
    pub(crate) fn key_slice(&self, z: usize) -> Option<KeySlice> {
        let index = self.stored(z)?;
        let [_, rows, columns] = self.back.grid().shape();
        let centre = [index as f64, (rows as f64 - 1.0) / 2.0, (columns as f64 - 1.0) / 2.0];
        let name = self.names.get(index);
        Some(KeySlice {
            index,
            z_mm: (self.back.grid().ras_mm(centre)[2] * 100.0).round() / 100.0,
            slice: Some(from_head(self.back.grid(), index)),
            instance_number: name.and_then(|name| name.instance_number),
            sop_instance_uid: name.map(|name| name.sop_uid.clone()).filter(|uid| !uid.is_empty()),
        })
    }
}
