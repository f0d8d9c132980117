//! `--prior`: the result of an earlier study of the patient, given by hand.
//!
//! Owns that it is one to follow findings from: of the same patient, with names for its findings. Refuses
//! to say whose it is.

use std::path::{Path, PathBuf};

use crate::cli::study_files::key_of;
use crate::cli::{Exit, Failure};
use crate::intake::StudyFiles;
use crate::intake::fingerprint::patient_key;
use crate::intake::reading::load::header_of;
use crate::report::output::{REPORT, report_of};
use hepalert_study::result::SEGMENTATION;
use hepalert_study::study::PatientKey;

/// The report in the folder of a result, for the study whose findings are followed from it.
///
/// # Errors
/// Exit 2 where nothing can be followed from it, or it is another patient's.
pub(super) fn checked(folder: &Path, study: &StudyFiles) -> Result<PathBuf, Failure> {
    let wrong = |why: &str| {
        Failure::new(Exit::Usage, anyhow::anyhow!("--prior {}: {why}", folder.display()))
    };
    let report = report_of(folder).ok_or_else(|| wrong("no result of `analyze` lies there"))?;
    let is_named = report.lesions.iter().all(|lesion| lesion.tracking_uid.is_some());
    let earlier = patient_of(&folder.join(SEGMENTATION));
    if !is_named || earlier.is_none() {
        return Err(wrong("it was made without --dicom: its findings have no names to go on with"));
    }
    let now = study.files().next().and_then(patient_of);
    if now.is_none() || now != earlier {
        return Err(wrong("the images are another patient's, by patient number or birth date"));
    }
    Ok(folder.join(REPORT))
}

/// Whose images or segmentation a file holds, as a device tells patients apart.
fn patient_of(file: &Path) -> Option<PatientKey> {
    patient_key(&header_of(file)?.identifiers, key_of)
}
