//! Results as DICOM objects beside the report: segmentation, structured report, key images.
//!
//! Owns which objects a study gets and what of the findings goes into them. They hold who the
//! patient is, since an archive files them by it; nothing else that is written here does. A study
//! whose objects cannot be made still has its report, which then says so.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Zoned;
use jiff::tz::{Offset, TimeZone};
use ndarray::Array3;
use serde::{Deserialize, Serialize};

use super::source_images::SourceImages;
use crate::codes;
use crate::report::files::{Draft, Picture, WriteError};
use crate::report::types::{LesionRecord, Report};
use hepalert_cascade::pipeline::{Finding as Found, Findings};
use hepalert_evidence::code::suspected_words;
use hepalert_evidence::finding::{Finding, Shape, Tracking};
use hepalert_evidence::maker::{Identity, Maker};
use hepalert_evidence::source::ImageRef;
use hepalert_evidence::structured::Predecessor;
use hepalert_evidence::{Object, capture, document, segmentation, structured};
use hepalert_study::anatomy::Organ;
use hepalert_study::phase::Phase;
use hepalert_study::study::Back;
use hepalert_voxels::volume::dicom::SliceHeader;
use hepalert_voxels::volume::dicom::read::read_header;

/// Folder of the objects beside the report.
pub(crate) const FOLDER: &str = "dicom";
/// Stands in a report whose objects could not be made.
pub(crate) const NOT_MADE: &str = "dicom_objects_not_made";

/// Which objects are made of a study.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSettings {
    /// Key images too.
    pub captures: bool,
    /// A PDF of the report too.
    pub pdf: bool,
    /// Segments of all organs, and not of the liver alone.
    pub organs: bool,
    /// Name of the device.
    pub device: Option<String>,
}

/// Why there are no objects.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObjectError {
    #[error(transparent)]
    Encode(#[from] hepalert_evidence::WriteError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What objects are made of.
pub(super) struct Made<'a> {
    pub(super) settings: &'a ObjectSettings,
    pub(super) images: &'a SourceImages,
    /// The phase that the results lie on.
    pub(super) reference: Phase,
    pub(super) findings: &'a Findings,
    pub(super) back: &'a Back,
    pub(super) report: &'a Report,
    /// Folder of the newest result of an earlier revision.
    pub(super) earlier: Option<&'a Path>,
}

/// Writes the objects into the report's folder.
pub(super) fn add(draft: &mut Draft, made: &Made<'_>) -> Result<(), ObjectError> {
    let grid = Arc::clone(made.back.grid());
    let source = made.images.source(made.reference, &grid);
    let (identity, maker) = (made.identity(), made.maker());
    let masks: Vec<([usize; 3], Array3<bool>)> =
        made.findings.kept.iter().map(|found| stored(found, made.back)).collect();
    let findings: Vec<Finding<'_>> = made
        .findings
        .kept
        .iter()
        .zip(&masks)
        .map(|(found, mask)| made.finding(found, mask))
        .collect();
    let organs = made.organs();
    let seen: Vec<_> = organs.iter().map(|(organ, mask)| (*organ, mask.view())).collect();
    let content =
        segmentation::Content { source: &source, grid: &grid, findings: &findings, organs: &seen };
    let segmentation = segmented(&content, &maker, &identity)?;
    let replaced = made.replaced();
    let limits: Vec<String> = made.report.quality.iter().map(|flag| codes::told(flag)).collect();
    let content = structured::Content {
        source: &source,
        grid: &grid,
        findings: &findings,
        segmentation: segmentation.as_ref().map(|object| object.sop_uid.as_str()),
        verdict: made.report.verdict,
        class: made.report.patient_class.joint,
        liver_cm3: made.report.liver_cm3,
        limits: &limits,
        predecessor: replaced.as_ref(),
    };
    let report = structured::write(&content, &maker, &identity)?;
    if let Some(object) = segmentation {
        put(draft, "segmentation", &object)?;
    }
    put(draft, "report", &report)?;
    let kept = draft.take_pictures();
    let pictures: Vec<(usize, &Picture, Vec<ImageRef>)> = kept
        .iter()
        .enumerate()
        .map(|(at, kept)| {
            let images = kept.slices.iter().filter_map(|slice| source.slices.get(*slice));
            (at + 1, kept, images.flatten().cloned().collect())
        })
        .collect();
    let pictures: Vec<capture::Picture<'_>> = pictures
        .iter()
        .map(|(number, kept, of)| capture::Picture {
            number: *number,
            title: &kept.title,
            width: kept.picture.width(),
            height: kept.picture.height(),
            rgb: kept.picture.rgb(),
            of,
        })
        .collect();
    for picture in pictures.iter().filter(|_| made.settings.captures) {
        let object = capture::write(picture, &source, &maker, &identity)?;
        put(draft, &format!("key-image-{:02}", picture.number), &object)?;
    }
    if made.settings.pdf {
        let object =
            document::write(&lines(made.report, &limits), &pictures, &source, &maker, &identity)?;
        put(draft, "document", &object)?;
    }
    Ok(())
}

/// The segmentation; none where there is nothing to segment.
fn segmented(
    content: &segmentation::Content<'_>,
    maker: &Maker,
    identity: &Identity,
) -> Result<Option<Object>, ObjectError> {
    match segmentation::write(content, maker, identity) {
        Ok(object) => Ok(Some(object)),
        Err(hepalert_evidence::WriteError::Empty) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the first page of the document says.
fn lines(report: &Report, limits: &[String]) -> Vec<String> {
    let mut lines = vec![
        "Liver triage: suspected findings, if any".to_owned(),
        report.notice.clone(),
        "Preliminary, and verified by nobody.".to_owned(),
        String::new(),
        format!("Verdict: {}", report.verdict.name().replace('_', " ")),
        format!("Liver: {:.0} cm3", report.liver_cm3),
        String::new(),
    ];
    lines.extend(report.lesions.iter().map(|lesion| {
        let slice = lesion.key_slice.as_ref().map_or(String::new(), |key| {
            let image = key.instance_number.map_or(String::new(), |n| format!(", image {n}"));
            format!("{image}, z {:.1} mm", key.z_mm)
        });
        format!(
            "Finding {}: {}, {:.1} cm3, longest {:.0} mm{slice}{}",
            lesion.id,
            suspected_words(lesion.class),
            lesion.volume_cm3,
            lesion.max_diameter_mm,
            followed(lesion)
        )
    }));
    if !limits.is_empty() {
        lines.extend([String::new(), "What lowers the trust in this result:".to_owned()]);
        lines.extend(limits.iter().cloned());
    }
    lines.push(String::new());
    lines.extend(
        report.engines.iter().map(|engine| {
            format!("{}: {} version {}", engine.role.name(), engine.id, engine.version)
        }),
    );
    lines.push(format!("hepalert {}", report.pipeline.version));
    lines
}

/// What the finding is called over all studies of the patient, and its number in the one before.
fn followed(lesion: &LesionRecord) -> String {
    let name = lesion.tracking_id.as_ref().map_or(String::new(), |id| format!(", {id}"));
    let before = lesion.earlier.as_ref();
    let before = before.map_or(String::new(), |it| format!(" (finding {} before)", it.id));
    format!("{name}{before}")
}

fn put(draft: &mut Draft, name: &str, object: &Object) -> Result<(), WriteError> {
    draft.add(&format!("{FOLDER}/{name}.dcm"), &object.bytes)
}

/// A finding's box and mask in the order of storage.
fn stored(found: &Found, back: &Back) -> ([usize; 3], Array3<bool>) {
    let region = found.detection.region;
    let [lo, _] = back.region([region.lo, region.hi]);
    (lo, back.array(found.detection.mask.clone()))
}

impl Made<'_> {
    /// What differs in an object has another UID: what a device is called, which segments it makes, and
    /// what its findings are called after those of another study.
    fn identity(&self) -> Identity {
        let Report { input, revision, pipeline, .. } = self.report;
        let study = self.images.study_uid();
        let identity = Identity::new(study, &input.fingerprint, *revision, &pipeline.fingerprint);
        let recognised = self.report.lesions.iter().filter(|lesion| lesion.earlier.is_some());
        let recognised = recognised.filter_map(|lesion| lesion.tracking_uid.as_deref());
        identity
            .with(self.settings.device.as_deref().unwrap_or_default())
            .with(if self.settings.organs { "organs" } else { "" })
            .with(&recognised.collect::<Vec<_>>().join(" "))
    }

    /// The structured report of the earlier revision, if it had one.
    fn replaced(&self) -> Option<Predecessor> {
        let bytes = fs::read(self.earlier?.join(FOLDER).join("report.dcm")).ok()?;
        let SliceHeader { series_uid, sop_uid, .. } = read_header(&bytes).ok()?;
        Some(Predecessor { series_uid, sop_uid })
    }

    /// Now, by the clock that the images are timed by; by this device's own where they do not say.
    fn now(&self) -> Zoned {
        let now = Zoned::now();
        let offset = self.images.offset_s().and_then(|s| Offset::from_seconds(s).ok());
        offset.map_or(now.clone(), |offset| now.with_time_zone(TimeZone::fixed(offset)))
    }

    fn maker(&self) -> Maker {
        let now = self.now();
        let engine = self.report.engines.first();
        Maker {
            version: self.report.pipeline.version.clone(),
            device: self.settings.device.clone(),
            engine: engine.map_or(String::new(), |one| format!("{} {}", one.id, one.version)),
            fingerprint: self.report.pipeline.fingerprint.clone(),
            engine_sha256: engine.map_or(String::new(), |one| one.sha256.clone()),
            date: now.strftime("%Y%m%d").to_string(),
            time: now.strftime("%H%M%S").to_string(),
            offset: Some(now.strftime("%z").to_string()),
        }
    }

    fn finding<'a>(
        &self,
        found: &Found,
        (lo, mask): &'a ([usize; 3], Array3<bool>),
    ) -> Finding<'a> {
        let number = found.detection.id;
        let record = self.report.lesions.iter().find(|lesion| lesion.id == number);
        let tracking = record.and_then(|lesion| {
            let (id, uid) = (lesion.tracking_id.clone()?, lesion.tracking_uid.clone()?);
            Some(Tracking { id, uid })
        });
        let hu = record.map(|lesion| lesion.mean_hu.iter().map(|(phase, hu)| (*phase, *hu)));
        Finding {
            number,
            kind: found.detection.kind,
            tracking: tracking.unwrap_or_default(),
            shape: Shape { lo: *lo, mask: mask.view() },
            volume_cm3: record.map_or(found.detection.volume_cm3, |lesion| lesion.volume_cm3),
            max_diameter_mm: record.map_or(0.0, |lesion| lesion.max_diameter_mm),
            mean_hu: hu.map(Iterator::collect).unwrap_or_default(),
            view: found.view,
        }
    }

    /// The liver with what lies in it, and the others where they are wanted, in the order of storage.
    fn organs(&self) -> Vec<(Organ, Array3<bool>)> {
        let mut organs = Vec::new();
        if self.findings.liver.iter().any(|inside| *inside) {
            organs.push((Organ::Liver, self.back.array(self.findings.liver.clone())));
        }
        if self.settings.organs {
            let labels = self.findings.labels_base.voxels();
            for organ in Organ::ALL.into_iter().filter(|organ| *organ != Organ::Liver) {
                let mask = labels.mapv(|label| label == organ.label());
                if mask.iter().any(|inside| *inside) {
                    organs.push((organ, self.back.array(mask)));
                }
            }
        }
        organs
    }
}
