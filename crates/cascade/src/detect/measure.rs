//! What is measured of one lesion: place, size, density, score, depth.
//!
//! Owns [`Measurements`] and their definitions. Refuses to decide anything by them. Sums run
//! in the order z, y, x, so that the same lesion gives the same bytes.

use ndarray::{Array3, ArrayView3, s};

use super::{Detection, Region};
use hepalert_study::phase::Phase;
use hepalert_voxels::image::distance::squared_distance_mm2;
use hepalert_voxels::volume::{Grid, Volume};

mod diameter;

/// Smallest, largest and mean value over a lesion's voxels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean, summed in f64.
    pub mean: f64,
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
}

/// What is measured of one lesion.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurements {
    /// Mean of the voxel centres in patient space, `[x, y, z]` in millimetres RAS.
    pub centre_ras_mm: [f64; 3],
    /// Largest distance between two voxel centres of the lesion. Zero for a single voxel.
    pub max_diameter_mm: f64,
    /// The same within one axial slice, in the slice where it is largest.
    pub axial_diameter_mm: f64,
    /// First slice inside and first slice after.
    pub slices: [usize; 2],
    /// Hounsfield units per phase; none for a phase without a finite value in the lesion.
    pub hu: Vec<(Phase, Option<Spread>)>,
    /// [`lesion_score`] over the voxels, 0 to 1.
    pub score: Option<Spread>,
    /// Smallest distance from a voxel of the lesion to the nearest voxel outside the liver;
    /// 0 if part of the lesion is outside. None if the liver is not known or fills the image.
    pub liver_surface_mm: Option<f64>,
}

/// What a lesion is measured on besides its own mask. All arrays are `[z, y, x]` on the grid
/// of the label map.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// Hounsfield units per phase.
    pub phases: &'a [(Phase, Volume<f32>)],
    /// Logit of the best other class minus logit of the best lesion.
    pub margin: Option<ArrayView3<'a, f32>>,
    /// From [`liver_depth_mm`].
    pub liver_depth_mm: Option<ArrayView3<'a, f32>>,
}

/// Measures one lesion.
///
/// # Panics
/// If the lesion reaches out of an array: it comes from another grid.
pub fn measure(lesion: &Detection, grid: &Grid, context: &Context) -> Measurements {
    let hu = |(phase, volume): &(Phase, Volume<f32>)| {
        (*phase, spread(lesion, volume.voxels().view(), |value| value))
    };
    let diameters = diameter::diameters(lesion, grid);
    Measurements {
        centre_ras_mm: centre_ras_mm(lesion, grid),
        max_diameter_mm: diameters.max_mm,
        axial_diameter_mm: diameters.axial_mm,
        slices: [lesion.region.lo[0], lesion.region.hi[0]],
        hu: context.phases.iter().map(hu).collect(),
        score: context.margin.and_then(|margin| spread(lesion, margin, lesion_score)),
        liver_surface_mm: context
            .liver_depth_mm
            .and_then(|depth| spread(lesion, depth, |value| value))
            .map(|depth| f64::from(depth.min)),
    }
}

/// How sure the network is of lesion rather than anything else at a voxel, at gain 1: the
/// best lesion's share of its probability and the best other class's, p_l / (p_l + p_o) =
/// 1 / (1 + exp(margin)). It is 0.5 where the argmax changes sides.
pub fn lesion_score(margin: f32) -> f32 {
    1.0 / (1.0 + margin.exp())
}

/// How deep each voxel of the liver lies: millimetres from its centre to the nearest centre
/// outside `liver`, 0 outside. What lies beyond the image counts as liver, so that a liver
/// cut by the edge of the scan has no surface there; infinite if it fills the image.
pub fn liver_depth_mm(liver: ArrayView3<bool>, spacing_mm: [f64; 3]) -> Array3<f32> {
    let mut depth = Array3::zeros(liver.raw_dim());
    let Some(Region { lo, hi }) = box_of(liver) else { return depth };
    // One voxel more on every side holds the nearest outside voxel of any surface voxel, and
    // that is all a separable transform needs: the way out of a box crosses its shell.
    let shape: [usize; 3] = liver.dim().into();
    let lo = lo.map(|n| n.saturating_sub(1));
    let hi: [usize; 3] = std::array::from_fn(|axis| shape[axis].min(hi[axis] + 1));
    let inner = s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]];
    let outside = liver.slice(inner).map(|inside| !inside);
    let squared = squared_distance_mm2(outside.view(), spacing_mm);
    depth.slice_mut(inner).assign(&squared.mapv_into(f32::sqrt));
    depth
}

fn box_of(mask: ArrayView3<bool>) -> Option<Region> {
    let mut found: Option<Region> = None;
    for (slice, z) in mask.outer_iter().zip(0..) {
        for (row, y) in slice.outer_iter().zip(0..) {
            let mut inside = row.iter().enumerate().filter(|(_, inside)| **inside).map(|(x, _)| x);
            let Some(first) = inside.next() else { continue };
            let last = inside.next_back().unwrap_or(first);
            let row = Region { lo: [z, y, first], hi: [z + 1, y + 1, last + 1] };
            found = Some(found.map_or(row, |found| found.hull(&row)));
        }
    }
    found
}

fn centre_ras_mm(lesion: &Detection, grid: &Grid) -> [f64; 3] {
    let mut sum = [0.0; 3];
    for ([z, y], columns) in lesion.runs() {
        let length = columns.len() as f64;
        sum[0] += z as f64 * length;
        sum[1] += y as f64 * length;
        sum[2] += (columns.start + columns.end - 1) as f64 * 0.5 * length;
    }
    grid.ras_mm(sum.map(|axis| axis / lesion.voxels as f64))
}

/// Over the finite values; none if there is no such value.
fn spread(lesion: &Detection, values: ArrayView3<f32>, of: impl Fn(f32) -> f32) -> Option<Spread> {
    let (mut sum, mut count) = (0.0, 0usize);
    let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
    for ([z, y], columns) in lesion.runs() {
        for value in values.slice(s![z, y, columns]).iter().map(|&value| of(value)) {
            if value.is_finite() {
                sum += f64::from(value);
                count += 1;
                min = min.min(value);
                max = max.max(value);
            }
        }
    }
    (count > 0).then(|| Spread { mean: sum / count as f64, min, max })
}

#[cfg(test)]
mod tests;
