//! What the voxels of a CT must look like, slice by slice: images that were never filled,
//! repeated, rescaled otherwise than their neighbours, or padded with what is no air.
//!
//! Owns [`inspect`], the one look at voxels that DICOM and NIfTI pass alike. Refuses to know
//! files and headers: slices are told by their index along z.

mod levels;
mod padding;
mod profile;
mod repeats;
mod unfilled;
mod values;

use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;

use crate::volume::Volume;
use profile::Profile;
use repeats::Repeats;

#[cfg(test)]
mod tests;

/// What stands for air where a scan has no pixels, in HU: the lowest value of a 12-bit CT.
pub const AIR_HU: f32 = -1024.0;

/// The end of the 12-bit scale: no pixel of a body is above, but metal and padding are.
const MAX_HU: f32 = 3_071.0;

/// Why voxels are not a CT of a body. Slices are indices along z, in order.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VoxelFault {
    /// Voxels that are no numbers.
    #[error("voxels that are no numbers")]
    NotFinite,
    /// Slices without an image, or with a part of one.
    #[error("slices without an image, or with half of one: {}", .0.len())]
    Unfilled(Vec<usize>),
    /// Slices that are, pixel for pixel, another slice again.
    #[error("slices that repeat the pixels of another: {}", .0.len())]
    Repeated(Vec<usize>),
    /// Slices whose values are shifted or stretched against their neighbours.
    #[error("slices rescaled otherwise than their neighbours: {}", .0.len())]
    Rescaled(Vec<usize>),
    /// Values that no body has.
    #[error("{0}")]
    Implausible(String),
}

/// What was changed, or is unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repaired {
    /// Slices in which padding outside the field of view was made air.
    pub padded_slices: usize,
    /// Every slice is there several times: a thicker series written in thinner steps.
    pub interpolated: bool,
}

/// Looks at every slice of a CT. `padding_hu` holds, for every slice, the values (lowest and
/// highest) that its header calls padding; padding above air is made [`AIR_HU`] where it
/// reaches the edge of the image.
///
/// # Errors
/// The first fault found; values that no body has before slices that differ.
pub fn inspect(
    volume: &mut Volume<f32>,
    padding_hu: &[Option<[f32; 2]>],
) -> Result<Repaired, VoxelFault> {
    let planes: Vec<ArrayView2<'_, f32>> = volume.voxels().outer_iter().collect();
    let profiles: Option<Vec<Profile>> = planes.par_iter().map(Profile::of).collect();
    let profiles = profiles.ok_or(VoxelFault::NotFinite)?;
    refuse(unfilled::unfilled(&profiles), VoxelFault::Unfilled)?;
    let repeats = repeats::repeats(&planes, &profiles);
    if let Repeats::Some(slices) = repeats {
        return Err(VoxelFault::Repeated(slices));
    }
    let interpolated = repeats == Repeats::Evenly;
    let padded =
        volume.voxels_mut().axis_iter_mut(Axis(0)).into_par_iter().enumerate().map(|(z, plane)| {
            usize::from(padding::to_air(plane, padding_hu.get(z).copied().flatten()))
        });
    let repaired = Repaired { padded_slices: padded.sum(), interpolated };
    let planes: Vec<ArrayView2<'_, f32>> = volume.voxels().outer_iter().collect();
    let rescaled = levels::rescaled(&planes);
    // Where the other slices are no CT either, all are wrong.
    values::check(volume, &rescaled).map_err(VoxelFault::Implausible)?;
    refuse(rescaled, VoxelFault::Rescaled)?;
    Ok(repaired)
}

fn refuse(slices: Vec<usize>, fault: fn(Vec<usize>) -> VoxelFault) -> Result<(), VoxelFault> {
    if slices.is_empty() { Ok(()) } else { Err(fault(slices)) }
}
