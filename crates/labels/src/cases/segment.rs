//! A reader's labels of a DICOM series as a DICOM segmentation, for the archive of the images.
//!
//! Owns what becomes a segment: each region of a lesion, and each organ. It holds who the patient
//! is, read from the images, since an archive files it by that. Refuses labels on NIfTI, which no
//! archive knows, and values of a data set of its own, for which there are no codes.

use std::collections::BTreeMap;

use hepalert_evidence::finding::{Finding, Shape, Tracking};
use hepalert_evidence::maker::{Identity, Maker};
use hepalert_evidence::segmentation::{self, Author, Content};
use hepalert_evidence::source::{ImageRef, Source, SourceSeries, space_of, wanted};
use hepalert_evidence::{Object, WriteError};
use hepalert_study::anatomy::{LESION_LABELS, Lesion, Organ, is_of_liver};
use hepalert_study::outcome::View;
use hepalert_study::phase::Phase;
use hepalert_voxels::volume::LabelMap;
use hepalert_voxels::volume::dicom::SliceHeader;
use hepalert_voxels::volume::dicom::read::read_texts;
use jiff::Timestamp;
use ndarray::Array3;

use super::case::{ImageFile, Voxels};
use super::dicom;
use super::error::CaseError;
use super::files::read;
use super::meaning::Meaning;
use crate::labelling::Labelling;
use crate::regions::{RegionVoxels, regions};

/// Whose labels, of which revision, when.
#[derive(Debug, Clone)]
pub struct Made<'a> {
    /// A reader, or labels that came with the case.
    pub who: &'a str,
    /// What their content is called.
    pub revision: &'a str,
    /// The version of this program.
    pub version: &'a str,
    /// The time of writing.
    pub when: Timestamp,
}

/// The segmentation.
///
/// # Errors
/// [`CaseError::Export`] for what has none, and what is wrong with a file.
pub fn segmentation_of(
    image: &ImageFile,
    labels: &Labelling,
    meaning: &Meaning,
    made: &Made<'_>,
) -> Result<Object, CaseError> {
    let Voxels::Dicom { files, .. } = &image.voxels else {
        let why = "its image is NIfTI: a segmentation refers to the DICOM images it lies on";
        return Err(CaseError::Export(why.to_owned()));
    };
    if !meaning.is_house() {
        let why = "its labels have names of their own, for which DICOM has no codes: export NIfTI";
        return Err(CaseError::Export(why.to_owned()));
    }
    meaning.check_map(labels.map())?;
    let (headers, first) = dicom::headers(files)?;
    let first = read(first, dicom::MAX_FILE_BYTES)?.unwrap_or_default();
    let copied = read_texts(&first, &wanted()).unwrap_or_default();
    let source = source(&headers, copied, image.phase);
    let study = source.study_uid().to_owned();
    let identity = Identity::new(&study, made.revision, 1, &format!("labels of {}", made.who));
    let stored = labels.stored();
    let findings = findings(&stored)?;
    let shaped = findings
        .iter()
        .map(|(number, label, lo, mask)| finding(*number, *label, *lo, mask, &identity));
    let shaped: Vec<Finding<'_>> = shaped.collect();
    let organs = organs(&stored);
    let seen: Vec<_> = organs.iter().map(|(organ, mask)| (*organ, mask.view())).collect();
    let content =
        Content { source: &source, grid: stored.grid(), findings: &shaped, organs: &seen };
    let author = Author::Reader(made.who.to_owned());
    segmentation::write_by(&content, &maker(made), &identity, &author).map_err(
        |error| match error {
            WriteError::Empty => CaseError::Export("nothing is labelled".to_owned()),
            other => CaseError::Export(other.to_string()),
        },
    )
}

fn maker(made: &Made<'_>) -> Maker {
    let when = made.when.to_zoned(jiff::tz::TimeZone::UTC);
    Maker {
        version: made.version.to_owned(),
        device: None,
        engine: "labels".to_owned(),
        fingerprint: made.revision.to_owned(),
        engine_sha256: String::new(),
        date: when.strftime("%Y%m%d").to_string(),
        time: when.strftime("%H%M%S").to_string(),
        offset: None,
    }
}

fn source(
    headers: &[SliceHeader],
    copied: BTreeMap<dicom_core::Tag, String>,
    phase: Option<Phase>,
) -> Source {
    Source {
        copied,
        frame_of_reference_uid: space_of(headers),
        series: vec![SourceSeries::of(phase.unwrap_or(Phase::Vp), headers)],
        slices: headers.iter().map(|header| vec![ImageRef::of(header)]).collect(),
        lossy: headers.iter().any(|header| header.lossy),
    }
}

/// A region of a lesion: its number, label, box and mask.
type Region = (u32, u8, [usize; 3], Array3<bool>);

fn findings(stored: &LabelMap) -> Result<Vec<Region>, CaseError> {
    let found = regions(stored, LESION_LABELS);
    let mut masks = Vec::new();
    for region in &found.regions {
        let held = RegionVoxels::at(stored, region.at)?;
        masks.push((region.number, region.label, held.lo, held.mask(held.lo, held.hi)));
    }
    Ok(masks)
}

fn finding<'a>(
    number: u32,
    label: u8,
    lo: [usize; 3],
    mask: &'a Array3<bool>,
    identity: &Identity,
) -> Finding<'a> {
    let kind = Lesion::ALL.into_iter().find(|kind| kind.label() == label);
    Finding {
        number,
        kind: kind.unwrap_or(Lesion::Other),
        tracking: Tracking {
            id: format!("lesion {number}"),
            uid: identity.uid(&format!("lesion {number}")),
        },
        shape: Shape { lo, mask: mask.view() },
        volume_cm3: 0.0,
        max_diameter_mm: 0.0,
        mean_hu: Vec::new(),
        view: View::Common,
    }
}

/// The liver with what lies in it, and every other organ that is labelled.
fn organs(stored: &LabelMap) -> Vec<(Organ, Array3<bool>)> {
    let masked = |organ: Organ| {
        let mask = stored.voxels().mapv(|label| match organ {
            Organ::Liver => is_of_liver(label),
            _ => label == organ.label(),
        });
        mask.iter().any(|inside| *inside).then_some((organ, mask))
    };
    Organ::ALL.into_iter().filter_map(masked).collect()
}
