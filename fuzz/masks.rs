//! What a patient's images say, in the objects that are made of them.

use std::collections::BTreeMap;

use dicom_dictionary_std::tags;
use hepalert_evidence::finding::{Finding, Shape, Tracking};
use hepalert_evidence::maker::{Identity, Maker};
use hepalert_evidence::segmentation::{Content, write};
use hepalert_evidence::source::Source;
use hepalert_study::anatomy::Lesion;
use hepalert_study::outcome::View;
use hepalert_voxels::volume::Grid;
use ndarray::{Array3, ArrayView3, Axis};

/// Any mask becomes a segmentation that a plain reader reads back, bit for bit: three sides, how much of
/// the rest is a name too, then the mask.
pub(crate) fn segmentation(bytes: &[u8]) {
    let [z, y, x, text, bits @ ..] = bytes else { return };
    let shape = [z, y, x].map(|side| usize::from(side % 16) + 1);
    let bit = |at: usize| bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    let at = |(z, y, x)| (z * shape[1] + y) * shape[2] + x;
    let mask = Array3::from_shape_fn(shape, |index| bit(at(index)));
    let grid = Grid::axial(shape, [5.0, 0.8, 0.7], [0.0; 3]);
    let name: String = bits.iter().take(usize::from(*text)).map(|byte| char::from(*byte)).collect();
    let source = Source {
        copied: BTreeMap::from([(tags::PATIENT_NAME, name.clone()), (tags::STUDY_ID, name)]),
        frame_of_reference_uid: "1.2.3".to_owned(),
        series: Vec::new(),
        slices: Vec::new(),
        lossy: false,
    };
    let findings = [finding(mask.view())];
    let content = Content { source: &source, grid: &grid, findings: &findings, organs: &[] };
    let Ok(object) = write(&content, &maker(), &Identity::new("1", "2", 3, "4")) else {
        assert!(!mask.iter().any(|on| *on), "only nothing is refused");
        return;
    };
    let read = dicom_object::from_reader(&object.bytes[..]).unwrap();
    let pixels = read.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
    let slices = mask.axis_iter(Axis(0)).filter(|slice| slice.iter().any(|on| *on));
    for (at, on) in slices.flat_map(|slice| slice.to_owned()).enumerate() {
        assert_eq!(pixels[at / 8] >> (at % 8) & 1 == 1, on);
    }
}

fn finding(mask: ArrayView3<'_, bool>) -> Finding<'_> {
    Finding {
        number: 1,
        kind: Lesion::Hcc,
        tracking: Tracking { id: "1".to_owned(), uid: "1.2.4".to_owned() },
        shape: Shape { lo: [0; 3], mask },
        volume_cm3: 1.0,
        max_diameter_mm: 1.0,
        mean_hu: Vec::new(),
        view: View::Common,
    }
}

fn maker() -> Maker {
    Maker {
        version: String::new(),
        device: None,
        engine: String::new(),
        fingerprint: String::new(),
        engine_sha256: String::new(),
        date: "20260101".to_owned(),
        time: "000000".to_owned(),
        offset: Some("+0000".to_owned()),
    }
}
