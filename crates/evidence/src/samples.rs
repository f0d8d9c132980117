//! What tests of several objects start from: a source, a maker, a finding.

use std::collections::BTreeMap;

use dicom_dictionary_std::{tags, uids};
use ndarray::Array3;

use crate::finding::{Finding, Shape, Tracking};
use crate::maker::Maker;
use crate::source::{ImageRef, Source, SourceSeries};
use hepalert_study::anatomy::Lesion;
use hepalert_study::outcome::View;
use hepalert_study::phase::Phase;

pub(crate) fn source(slices: usize) -> Source {
    let image = |z: usize| ImageRef {
        class: uids::CT_IMAGE_STORAGE.to_owned(),
        uid: format!("1.2.3.{z}"),
        frame: None,
    };
    let images: Vec<ImageRef> = (1..=slices).map(image).collect();
    Source {
        copied: BTreeMap::from([
            (tags::STUDY_INSTANCE_UID, "1.2.3".to_owned()),
            (tags::PATIENT_NAME, "Müller^Jürgen".to_owned()),
        ]),
        frame_of_reference_uid: "1.2.4".to_owned(),
        slices: images.iter().map(|image| vec![image.clone()]).collect(),
        series: vec![SourceSeries { uid: "1.2.5".to_owned(), phase: Phase::Vp, images }],
        lossy: false,
    }
}

pub(crate) fn maker() -> Maker {
    Maker {
        version: "0.1.0".to_owned(),
        device: Some("ct-1".to_owned()),
        engine: "venous-demo 3".to_owned(),
        fingerprint: "ab".repeat(32),
        engine_sha256: "cd".repeat(32),
        date: "20261130".to_owned(),
        time: "101112".to_owned(),
        offset: Some("+0000".to_owned()),
    }
}

pub(crate) fn finding<'a>(number: u32, lo: [usize; 3], mask: &'a Array3<bool>) -> Finding<'a> {
    Finding {
        number,
        kind: Lesion::Hcc,
        tracking: Tracking { id: format!("lesion {number}"), uid: format!("1.2.6.{number}") },
        shape: Shape { lo, mask: mask.view() },
        volume_cm3: 1.5,
        max_diameter_mm: 12.0,
        mean_hu: vec![(Phase::Vp, 61.5)],
        view: View::Common,
    }
}
