//! Label maps and label files of the command line: read with a refusal that names the file,
//! written whole.

use std::path::Path;

use super::Failure;
use hepalert_cascade::detect::Detection;
use hepalert_cascade::detect::seg2det::{DetectParams, FragmentLimits, seg2det_within};
use hepalert_voxels::volume::LabelMap;

/// Takes a label map apart.
///
/// # Errors
/// A refusal with code `too_fragmented` if the map is noise.
pub(crate) fn lesions(
    path: &Path,
    labels: &LabelMap,
    params: &DetectParams,
) -> Result<Vec<Detection>, Failure> {
    seg2det_within(labels, params, &FragmentLimits::default()).map_err(|refusal| {
        let context = format!("{}: is this a label map of liver lesions?", path.display());
        Failure::refused("too_fragmented", anyhow::Error::new(refusal).context(context))
    })
}

/// Refuses two label maps that do not lie on one grid.
///
/// # Errors
/// A refusal with code `geometry_mismatch`.
pub(crate) fn same_grid(a: (&Path, &LabelMap), b: (&Path, &LabelMap)) -> Result<(), Failure> {
    if a.1.grid().matches(b.1.grid()) {
        return Ok(());
    }
    let place = |(path, labels): (&Path, &LabelMap)| {
        let grid = labels.grid();
        let row = |values: [f64; 3], digits: usize| {
            values.map(|value| format!("{value:.digits$}")).join(" x ")
        };
        let shape = row(grid.shape().map(|n| n as f64), 0);
        let (spacing, first) = (row(grid.spacing_mm(), 2), row(grid.ras_mm([0.0; 3]), 1));
        format!(
            "{} has {shape} voxels (z, y, x) of {spacing} mm from {first} mm RAS",
            path.display()
        )
    };
    Err(Failure::refused(
        "geometry_mismatch",
        anyhow::anyhow!("{}, but {}: bring both onto one grid first", place(a), place(b)),
    ))
}
