//! The two views of a report that is there, read back as label maps.
//!
//! Owns what the second network's word means for a label map: lesions have the type that it gave
//! them, those that it discarded are liver.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ndarray::Array3;

use super::output::report_of;
use super::types::Report;
use hepalert_study::anatomy::{Lesion, Organ, is_lesion};
use hepalert_study::outcome::View;
use hepalert_study::result::{LABELS_BASE, LABELS_HIGH, LESIONS};
use hepalert_voxels::volume::LabelMap;
use hepalert_voxels::volume::nifti::NiftiError;
use hepalert_voxels::volume::nifti::read::{read as read_image, read_labels};

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewsError {
    /// The folder has no report.
    #[error("{}: no report of this program is there", .0.display())]
    NoReport(PathBuf),
    /// A file that cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file at fault.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// A file that is damaged.
    #[error("{}: {reason}", path.display())]
    Nifti {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        reason: NiftiError,
    },
}

/// Both views, as stored.
#[derive(Debug)]
pub(crate) struct Views {
    /// Those of the base lesion gain.
    pub base: LabelMap,
    /// Those of the high one.
    pub high: LabelMap,
}

/// The views of the report in a folder.
///
/// # Errors
/// [`ViewsError`].
pub(crate) fn read(folder: &Path) -> Result<Views, ViewsError> {
    let report = report_of(folder).ok_or_else(|| ViewsError::NoReport(folder.to_owned()))?;
    let bytes = |name: &str| -> Result<(PathBuf, Vec<u8>), ViewsError> {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok((path, bytes)),
            Err(reason) => Err(ViewsError::File { path, reason }),
        }
    };
    let (path, numbers) = bytes(LESIONS)?;
    let numbers = read_image(&numbers).map_err(|reason| ViewsError::Nifti { path, reason })?;
    let view = |name: &str, other: View| {
        let (path, labels) = bytes(name)?;
        let mut map = read_labels(&labels).map_err(|reason| ViewsError::Nifti { path, reason })?;
        merge_into_liver(&mut map, &report, other, numbers.voxels());
        Ok(map)
    };
    let base = view(LABELS_BASE, View::High)?;
    Ok(Views { base, high: view(LABELS_HIGH, View::Base)? })
}

/// Lesions of the `other` view alone are liver too.
fn merge_into_liver(map: &mut LabelMap, report: &Report, other: View, numbers: &Array3<f32>) {
    let kept = |number: f32| -> Option<Lesion> {
        let lesion = report.lesions.iter().find(|lesion| lesion.id as f32 == number)?;
        (lesion.view != other).then_some(lesion.class)
    };
    map.voxels_mut().zip_mut_with(numbers, |label, &number| {
        if is_lesion(*label) {
            *label = kept(number).map_or(Organ::Liver.label(), Lesion::label);
        }
    });
}
