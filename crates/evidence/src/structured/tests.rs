//! What a plain reader finds in a report.

use dicom_object::{InMemDicomObject, from_reader};
use ndarray::Array3;

use super::*;
use crate::finding::Tracking;
use crate::samples::{finding, maker, source};
use hepalert_study::anatomy::Organ;
use hepalert_study::phase::Phase;

fn written(change: impl FnOnce(&mut Source)) -> InMemDicomObject {
    written_after(None, change)
}

fn written_after(
    predecessor: Option<&Predecessor>,
    change: impl FnOnce(&mut Source),
) -> InMemDicomObject {
    let grid = Grid::axial([6, 20, 30], [5.0, 0.8, 0.7], [10.0, 20.0, 30.0]);
    let mask = Array3::from_elem((2, 3, 4), true);
    let findings = [finding(1, [1, 5, 6], &mask), finding(2, [3, 9, 9], &mask)];
    let mut source = source(6);
    change(&mut source);
    let content = Content {
        source: &source,
        grid: &grid,
        findings: &findings,
        segmentation: Some("1.2.7"),
        verdict: AlertLevel::Suspected,
        class: Some(PatientClass::Hcc),
        liver_cm3: 1400.0,
        limits: &["liver_cut_by_scan (the liver reaches the last slice)".to_owned()],
        predecessor,
    };
    let identity = Identity::new("1.2.3", "aa", 1, "bb");
    let object = write(&content, &maker(), &identity).unwrap();
    from_reader(&object.bytes[..]).unwrap().into_inner()
}

fn below(item: &InMemDicomObject) -> Vec<&InMemDicomObject> {
    let items = item.get(tags::CONTENT_SEQUENCE).and_then(|element| element.items());
    items.map(|items| items.iter().collect()).unwrap_or_default()
}

/// Every item of the tree in order.
fn all(item: &InMemDicomObject) -> Vec<&InMemDicomObject> {
    let children = below(item).into_iter().flat_map(all);
    std::iter::once(item).chain(children).collect()
}

fn text(item: &InMemDicomObject, tag: dicom_core::Tag) -> String {
    let found = item.get(tag).and_then(|element| element.to_str().ok());
    found.map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn concept(item: &InMemDicomObject) -> String {
    let names = item.get(tags::CONCEPT_NAME_CODE_SEQUENCE).and_then(|element| element.items());
    names.map(|names| text(&names[0], tags::CODE_MEANING)).unwrap_or_default()
}

#[test]
fn a_report_is_preliminary_unverified_and_of_the_sources_patient() {
    let report = written(|_| {});
    assert_eq!(text(&report, tags::PRELIMINARY_FLAG), "PRELIMINARY");
    assert_eq!(text(&report, tags::VERIFICATION_FLAG), "UNVERIFIED");
    assert_eq!(text(&report, tags::PATIENT_NAME), "Müller^Jürgen");
    assert_eq!(text(&report, tags::STUDY_INSTANCE_UID), "1.2.3");
    let groups = all(&report).into_iter().filter(|item| concept(item) == "Measurement Group");
    assert_eq!(groups.count(), 3, "two findings and the liver");
    // As in the segmentation.
    let liver = Tracking::of_organ(Organ::Liver, "1.2.3");
    let items = all(&report);
    assert!(items.iter().any(|item| text(item, tags::UID) == liver.uid));
    assert!(items.iter().any(|item| text(item, tags::TEXT_VALUE) == liver.id));
}

#[test]
fn what_lowers_the_trust_is_said_beside_the_verdict() {
    let report = written(|_| {});
    let is_qualitative = |item: &&InMemDicomObject| concept(item) == "Qualitative Evaluations";
    let said = below(all(&report).into_iter().find(is_qualitative).unwrap());
    let limits = said.iter().filter(|item| concept(item).contains("lowers the trust"));
    let texts: Vec<String> = limits.map(|item| text(item, tags::TEXT_VALUE)).collect();
    assert_eq!(texts, ["liver_cut_by_scan (the liver reaches the last slice)"]);
}

#[test]
fn a_later_revision_names_the_report_that_it_replaces() {
    assert!(written(|_| {}).get(tags::PREDECESSOR_DOCUMENTS_SEQUENCE).is_none());
    let [series_uid, sop_uid] = ["1.2.8", "1.2.9"].map(str::to_owned);
    let before = Predecessor { series_uid, sop_uid };
    let later = written_after(Some(&before), |_| {});
    let items = |item: &InMemDicomObject, tag| {
        item.get(tag).and_then(|element| element.items()).unwrap()[0].clone()
    };
    let document = items(&later, tags::PREDECESSOR_DOCUMENTS_SEQUENCE);
    assert_eq!(text(&document, tags::STUDY_INSTANCE_UID), "1.2.3");
    let series = items(&document, tags::REFERENCED_SERIES_SEQUENCE);
    assert_eq!(text(&series, tags::SERIES_INSTANCE_UID), "1.2.8");
    let report = items(&series, tags::REFERENCED_SOP_SEQUENCE);
    assert_eq!(text(&report, tags::REFERENCED_SOP_INSTANCE_UID), "1.2.9");
    assert_eq!(text(&later, tags::TIMEZONE_OFFSET_FROM_UTC), "+0000");
}

#[test]
fn the_longest_axis_is_drawn_where_it_was_measured() {
    let report = written(|_| {});
    let lines: Vec<_> =
        all(&report).into_iter().filter(|item| text(item, tags::VALUE_TYPE) == "SCOORD").collect();
    assert_eq!(lines.len(), 2);
    let ends = lines[0].get(tags::GRAPHIC_DATA).unwrap().to_multi_float32().unwrap();
    assert_eq!(ends, [6.5, 5.5, 9.5, 7.5]);
    let image = below(lines[0])[0].get(tags::REFERENCED_SOP_SEQUENCE).unwrap().items().unwrap();
    assert_eq!(text(&image[0], tags::REFERENCED_SOP_INSTANCE_UID), "1.2.3.2");
    // Averaged slices: no one image shows it.
    let averaged = written(|source| source.slices.iter_mut().for_each(Vec::clear));
    let kinds: Vec<String> =
        all(&averaged).iter().map(|item| text(item, tags::VALUE_TYPE)).collect();
    assert!(!kinds.contains(&"SCOORD".to_owned()));
    assert_eq!(kinds.iter().filter(|kind| *kind == "SCOORD3D").count(), 4);
}

#[test]
fn nothing_is_called_by_what_it_is_only_suspected_to_be() {
    let report = written(|source| source.series[0].phase = Phase::Nc);
    for item in all(&report) {
        let codes = item.get(tags::CONCEPT_CODE_SEQUENCE).and_then(|element| element.items());
        let meaning = codes.map(|codes| text(&codes[0], tags::CODE_MEANING)).unwrap_or_default();
        let words = meaning.to_lowercase();
        let names_a_disease = ["carcinoma", "metasta", "haemangioma", "cyst", "malignan"]
            .iter()
            .any(|word| words.contains(word));
        assert!(!names_a_disease || words.contains("suspect"), "{meaning}");
    }
}
