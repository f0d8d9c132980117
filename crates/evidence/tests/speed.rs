//! A full result is written within a second: twenty findings and the liver in 60 slices of 512 x 512.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dicom_dictionary_std::tags;
use hepalert_evidence::finding::{Finding, Shape, Tracking};
use hepalert_evidence::maker::{Identity, Maker};
use hepalert_evidence::source::{ImageRef, Source, SourceSeries};
use hepalert_evidence::{segmentation, structured};
use hepalert_study::anatomy::{Lesion, Organ};
use hepalert_study::outcome::{AlertLevel, View};
use hepalert_study::phase::Phase;
use hepalert_voxels::volume::Grid;
use ndarray::Array3;

fn source() -> Source {
    let image = |z: usize| ImageRef {
        class: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        uid: format!("1.2.3.{z}"),
        frame: None,
    };
    let images: Vec<ImageRef> = (1..=60).map(image).collect();
    Source {
        copied: BTreeMap::from([(tags::STUDY_INSTANCE_UID, "1.2.3".to_owned())]),
        frame_of_reference_uid: "1.2.4".to_owned(),
        slices: images.iter().map(|image| vec![image.clone()]).collect(),
        series: vec![SourceSeries { uid: "1.2.5".to_owned(), phase: Phase::Vp, images }],
        lossy: false,
    }
}

fn maker() -> Maker {
    Maker {
        version: "0".to_owned(),
        device: None,
        engine: "e 1".to_owned(),
        fingerprint: "ab".repeat(32),
        engine_sha256: "cd".repeat(32),
        date: "20260101".to_owned(),
        time: "000000".to_owned(),
        offset: Some("+0000".to_owned()),
    }
}

#[test]
fn twenty_findings_are_written_within_a_second() {
    let grid = Grid::axial([60, 512, 512], [5.0, 0.8, 0.8], [0.0; 3]);
    let (source, maker) = (source(), maker());
    // Balls of 60 mm.
    let ball = |(z, y, x): (usize, usize, usize)| {
        let mm = |at: usize, middle: f64, mm: f64| ((at as f64 - middle) * mm).powi(2);
        mm(z, 6.0, 5.0) + mm(y, 37.0, 0.8) + mm(x, 37.0, 0.8) < 900.0
    };
    let mask = Array3::from_shape_fn((13, 75, 75), ball);
    let finding = |n: usize| Finding {
        number: n as u32,
        kind: Lesion::Meta,
        tracking: Tracking { id: format!("finding {n}"), uid: format!("1.2.6.{n}") },
        shape: Shape { lo: [2 * n, 10 * n, 20 * n], mask: mask.view() },
        volume_cm3: 113.0,
        max_diameter_mm: 60.0,
        mean_hu: Phase::ALL.map(|phase| (phase, 60.0)).to_vec(),
        view: View::Common,
    };
    let findings: Vec<Finding<'_>> = (1..=20).map(finding).collect();
    let liver = Array3::from_elem((60, 512, 512), true);
    let organs = [(Organ::Liver, liver.view())];
    let identity = Identity::new("1.2.3", "aa", 1, "bb");
    let began = Instant::now();
    let content = segmentation::Content {
        source: &source,
        grid: &grid,
        findings: &findings,
        organs: &organs,
    };
    let segmented = segmentation::write(&content, &maker, &identity).unwrap();
    let content = structured::Content {
        source: &source,
        grid: &grid,
        findings: &findings,
        segmentation: Some(&segmented.sop_uid),
        verdict: AlertLevel::Suspected,
        class: None,
        liver_cm3: 1500.0,
        limits: &[],
        predecessor: None,
    };
    let report = structured::write(&content, &maker, &identity).unwrap();
    let took = began.elapsed();
    println!("{} + {} bytes in {took:?}", segmented.bytes.len(), report.bytes.len());
    assert!(took < Duration::from_secs(1), "{took:?}");
}
