//! A measurement group: one finding with its measurements, TID 1411.
//!
//! Owns the order of what is said of a finding. The longest axis is drawn on the image it was
//! measured on; where slices were averaged and no one image shows it, in the patient.

use dicom_dictionary_std::uids;

use hepalert_study::anatomy::Organ;
use hepalert_study::outcome::View;

use super::Content;
use super::content::{Item, Relation};
use crate::code::{self, Code};
use crate::finding::{Finding, LongAxis, Tracking, lps_mm, number_of};
use crate::maker::Maker;
use crate::source::ImageRef;

pub(super) fn of_finding(
    content: &Content<'_>,
    maker: &Maker,
    finding: &Finding<'_>,
    place: usize,
) -> Item {
    let axis = finding.shape.long_axis(content.grid);
    let phase = |(phase, hu): &(_, f64)| {
        Item::number(code::ATTENUATION, *hu, code::HOUNSFIELD)
            .with(Relation::HasConceptMod, Item::code(code::DERIVATION, code::MEAN))
            .with(Relation::HasConceptMod, Item::code(code::CONTRAST_PHASE, code::phase(*phase)))
    };
    let size = Item::number(code::DIAMETER, finding.max_diameter_mm, code::MILLIMETRE);
    group(&finding.tracking)
        .with_all(Relation::HasConceptMod, algorithm(maker))
        .with(Relation::Contains, Item::code(code::FINDING, code::LESION))
        .with_all(Relation::Contains, segment(content, number_of(place)))
        .with_all(Relation::Contains, sources(content))
        .with(Relation::HasConceptMod, Item::code(code::FINDING_SITE, code::LIVER))
        .with(Relation::Contains, Item::text(code::COMMENT, &numbered(finding)))
        .with(Relation::Contains, volume(finding.volume_cm3))
        .with_all(Relation::Contains, axis.map(|axis| long_axis(content, axis)))
        .with(Relation::Contains, size)
        .with_all(Relation::Contains, finding.mean_hu.iter().map(phase))
        .with_all(Relation::Contains, centre(content, finding))
        .with(Relation::Contains, Item::code(code::SUSPECTED_CLASS, code::suspected(finding.kind)))
        .with(Relation::Contains, Item::code(code::SEEN_IN, view(finding.view)))
}

/// What the tracking identifier does not say: the number in pictures, segments and report.
fn numbered(finding: &Finding<'_>) -> String {
    format!("finding {} of this study's pictures and segmentation", finding.number)
}

/// The whole liver, as the segment behind all findings.
pub(super) fn of_liver(content: &Content<'_>, maker: &Maker) -> Item {
    group(&Tracking::of_organ(Organ::Liver, content.source.study_uid()))
        .with_all(Relation::HasConceptMod, algorithm(maker))
        .with(Relation::Contains, Item::code(code::FINDING, code::LIVER))
        .with_all(Relation::Contains, segment(content, number_of(content.findings.len())))
        .with_all(Relation::Contains, sources(content))
        .with(Relation::HasConceptMod, Item::code(code::FINDING_SITE, code::LIVER))
        .with(Relation::Contains, volume(content.liver_cm3))
}

fn group(tracking: &Tracking) -> Item {
    Item::template(code::MEASUREMENT_GROUP, "1411")
        .with(Relation::HasObsContext, Item::text(code::TRACKING_ID, &tracking.id))
        .with(Relation::HasObsContext, Item::uid(code::TRACKING_UID, &tracking.uid))
}

/// What measured, TID 4019, with the engine's hash.
fn algorithm(maker: &Maker) -> [Item; 3] {
    let version = format!("{} {}", maker.version, maker.engine);
    let parameters = format!("engine={} pipeline={}", maker.engine_sha256, maker.fingerprint);
    [
        Item::text(code::ALGORITHM_NAME, "hepalert"),
        Item::text(code::ALGORITHM_VERSION, &version),
        Item::text(code::ALGORITHM_PARAMETERS, &parameters),
    ]
}

fn volume(cm3: f64) -> Item {
    Item::number(code::VOLUME, cm3, code::CUBIC_CENTIMETRE)
}

fn segment(content: &Content<'_>, number: usize) -> Option<Item> {
    let segmentation = ImageRef {
        class: uids::SEGMENTATION_STORAGE.to_owned(),
        uid: content.segmentation?.to_owned(),
        frame: None,
    };
    let number = u16::try_from(number).ok()?;
    Some(Item::image(Some(code::REFERENCED_SEGMENT), &segmentation, Some(number)))
}

/// The series that the segment lies on.
fn sources(content: &Content<'_>) -> Option<Item> {
    let series = content.source.series.first()?;
    Some(Item::uid(code::SOURCE_SERIES, &series.uid))
}

fn long_axis(content: &Content<'_>, axis: LongAxis) -> Item {
    let images = content.source.slices.get(axis.slice).map_or(&[][..], Vec::as_slice);
    let drawn = match images {
        [image] => {
            // Columns first; the centre of the first pixel is 0.5.
            let ends = axis.ends.map(|[row, column]| [column as f32 + 0.5, row as f32 + 0.5]);
            Item::line_on_image(code::PATH, ends)
                .with(Relation::SelectedFrom, Item::image(None, image, None))
        }
        _ => {
            let point = |[row, column]: [usize; 2]| {
                lps_mm(content.grid, [axis.slice, row, column].map(|n| n as f64))
            };
            let frame = &content.source.frame_of_reference_uid;
            Item::in_patient(code::PATH, &axis.ends.map(point), frame)
        }
    };
    Item::number(code::LONG_AXIS, rounded(axis.mm), code::MILLIMETRE)
        .with(Relation::InferredFrom, drawn)
}

fn centre(content: &Content<'_>, finding: &Finding<'_>) -> Option<Item> {
    let voxel = finding.shape.centre(content.grid)?;
    let point = lps_mm(content.grid, voxel.map(|n| n as f64));
    Some(Item::in_patient(code::CENTRE, &[point], &content.source.frame_of_reference_uid))
}

/// As a report has figures: four decimals.
fn rounded(mm: f64) -> f64 {
    (mm * 1e4).round() / 1e4
}

const fn view(view: View) -> Code {
    match view {
        View::Common => code::BOTH_VIEWS,
        View::Base => code::BASE_VIEW,
        View::High => code::HIGH_VIEW,
    }
}
