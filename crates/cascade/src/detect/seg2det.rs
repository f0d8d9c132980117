//! Det = seg2det(Seg): a label map taken apart into single lesions (Eq. 4-6).
//!
//! Owns what a lesion is and the order in which lesions are numbered. Knows nothing of
//! probabilities or files. Voxels outside 1 to 6 - organs, and values no class has - are
//! background.

use std::cmp::Reverse;
use std::sync::Arc;

use ndarray::{Array3, s};

use super::{Detection, Region};
use hepalert_study::anatomy::Lesion;
use hepalert_voxels::image::components::{Components, InPlane, components};
use hepalert_voxels::volume::{Grid, LabelMap, Volume};

/// What the paper leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DetectParams {
    /// Which voxels touch within a slice.
    pub in_plane: InPlane,
}

/// How fragmented a label map may be. A scan has tens of lesions; a map of noise has
/// millions, each with a mask of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Most lesions.
    pub lesions: usize,
    /// Most voxels in all the lesions' boxes together.
    pub box_voxels: usize,
}

impl Default for FragmentLimits {
    /// As many lesions as an instance map has numbers for, and masks of no more bytes than
    /// the largest volume.
    fn default() -> FragmentLimits {
        FragmentLimits {
            lesions: usize::from(u16::MAX),
            box_voxels: hepalert_voxels::volume::MAX_VOXELS,
        }
    }
}

/// Why a label map is not taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooFragmented {
    /// Too many lesions.
    #[error("{found} lesions, and at most {most} are taken")]
    Lesions {
        /// Lesions in the map.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// Boxes too large.
    #[error("the lesions' boxes hold {found} voxels, and at most {most} are taken")]
    Boxes {
        /// Voxels of all boxes.
        found: usize,
        /// The limit.
        most: usize,
    },
}

/// Eq. (4-6): 2-D components per axial slice and lesion type, joined where they overlap in
/// neighbouring slices. Numbered from 1 by label, then volume descending, then box, then
/// first voxel.
///
/// A map of noise gives as many detections as it has specks: see [`seg2det_within`].
pub fn seg2det(labels: &LabelMap, params: &DetectParams) -> Vec<Detection> {
    let parts = lesion_components(labels, params);
    let outlines = outlines(&parts);
    detections(&parts, outlines, labels.grid())
}

/// [`seg2det`] for maps of unknown origin: checks the limits before masks are allocated.
///
/// # Errors
/// [`TooFragmented`] says which limit the map exceeds.
pub fn seg2det_within(
    labels: &LabelMap,
    params: &DetectParams,
    limits: &FragmentLimits,
) -> Result<Vec<Detection>, TooFragmented> {
    let parts = lesion_components(labels, params);
    if parts.count > limits.lesions {
        return Err(TooFragmented::Lesions { found: parts.count, most: limits.lesions });
    }
    let outlines = outlines(&parts);
    let boxes = outlines.iter().map(|outline| outline.region.voxels());
    let found = boxes.fold(0, usize::saturating_add);
    if found > limits.box_voxels {
        return Err(TooFragmented::Boxes { found, most: limits.box_voxels });
    }
    Ok(detections(&parts, outlines, labels.grid()))
}

/// A volume with each lesion's id in its voxels and 0 elsewhere.
///
/// # Errors
/// [`TooFragmented::Lesions`] if an id does not fit into 16 bits.
///
/// # Panics
/// If a detection reaches out of the grid: it comes from another one.
pub fn instance_map(found: &[Detection], grid: &Arc<Grid>) -> Result<Volume<u16>, TooFragmented> {
    let mut map = Array3::zeros(grid.shape());
    let mut ordered: Vec<&Detection> = found.iter().collect();
    // From head to foot: fresh memory is touched once, in its own order.
    ordered.sort_by_key(|lesion| lesion.region);
    for lesion in ordered {
        let id = u16::try_from(lesion.id).map_err(|_| TooFragmented::Lesions {
            found: lesion.id as usize,
            most: usize::from(u16::MAX),
        })?;
        let Region { lo, hi } = lesion.region;
        let mut part = map.slice_mut(s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]]);
        part.zip_mut_with(&lesion.mask, |voxel, &inside| {
            if inside {
                *voxel = id;
            }
        });
    }
    Ok(Volume::new(Arc::clone(grid), map))
}

fn lesion_components(labels: &LabelMap, params: &DetectParams) -> Components {
    let lesions = Lesion::Hcc.label()..=Lesion::Cyst.label();
    components(labels.voxels().view(), lesions, params.in_plane)
}

/// What is known of a component before its mask is drawn.
struct Outline {
    component: usize,
    kind: Lesion,
    region: Region,
    voxels: usize,
}

/// One outline per component, in component order.
fn outlines(parts: &Components) -> Vec<Outline> {
    let mut outlines: Vec<Outline> = Vec::with_capacity(parts.count);
    for run in &parts.runs {
        let [z, y, x_lo, x_hi] = [run.z, run.y, run.x_lo, run.x_hi].map(|n| n as usize);
        let region = Region { lo: [z, y, x_lo], hi: [z + 1, y + 1, x_hi] };
        let component = run.component as usize;
        if let Some(outline) = outlines.get_mut(component) {
            outline.voxels += run.voxels();
            outline.region = outline.region.hull(&region);
        } else if let Some(kind) = Lesion::from_label(run.label) {
            // Components are numbered in the order of their first runs.
            outlines.push(Outline { component, kind, region, voxels: run.voxels() });
        }
    }
    assert_eq!(outlines.len(), parts.count, "every component is of a lesion label");
    outlines
}

fn detections(parts: &Components, mut outlines: Vec<Outline>, grid: &Grid) -> Vec<Detection> {
    // Stable: what is equal in all three stays in the order of first voxels.
    outlines.sort_by_key(|part| (part.kind, Reverse(part.voxels), part.region));
    let mut place = vec![0; outlines.len()];
    let mut found = Vec::with_capacity(outlines.len());
    for (at, outline) in outlines.iter().enumerate() {
        place[outline.component] = at;
        found.push(Detection {
            id: at as u32 + 1,
            kind: outline.kind,
            region: outline.region,
            mask: Array3::from_elem(outline.region.shape(), false),
            voxels: outline.voxels,
            volume_cm3: outline.voxels as f64 * grid.voxel_cm3(),
        });
    }
    for run in &parts.runs {
        let lesion = &mut found[place[run.component as usize]];
        let [z0, y0, x0] = lesion.region.lo;
        let [z, y] = [run.z as usize - z0, run.y as usize - y0];
        let columns = run.x_lo as usize - x0..run.x_hi as usize - x0;
        lesion.mask.slice_mut(s![z, y, columns]).fill(true);
    }
    found
}

#[cfg(test)]
mod tests;
