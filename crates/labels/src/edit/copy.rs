//! A region of one phase's labels laid on another phase's grid.
//!
//! Owns the way by millimetres: a voxel here is of the region if the nearest voxel there is. What
//! lies between the phases, breath above all, is the reader's to correct.

use hepalert_voxels::volume::{Grid, LabelMap};
use ndarray::Array3;

use super::{Bounds, is_over};
use crate::change::Stretch;
use crate::refused::Refused;
use crate::regions::RegionVoxels;

pub(super) fn copy(
    map: &LabelMap,
    other: &LabelMap,
    at: [usize; 3],
    label: Option<u8>,
    over: Option<&[u8]>,
) -> Result<Vec<Stretch>, Refused> {
    let held = RegionVoxels::at(other, at)?;
    let mask = held.mask(held.lo, held.hi);
    let (here, there) = (map.grid(), other.grid());
    let Some(bounds) = covered(&held, there, here) else { return Ok(Vec::new()) };
    let size: [usize; 3] = std::array::from_fn(|axis| bounds.hi[axis] - bounds.lo[axis]);
    let wanted = Array3::from_shape_fn(size, |(z, y, x)| {
        let own = [bounds.lo[0] + z, bounds.lo[1] + y, bounds.lo[2] + x];
        let nearest = index_of(there, here.ras_mm(own.map(|n| n as f64))).map(f64::round);
        let place: [usize; 3] = std::array::from_fn(|axis| {
            let from_lo = nearest[axis] - held.lo[axis] as f64;
            if from_lo < 0.0 { usize::MAX } else { from_lo as usize }
        });
        mask.get(place) == Some(&true) && is_over(over, map.voxels()[own])
    });
    Ok(bounds.stretches(&wanted, here.shape(), label.unwrap_or(held.label)))
}

/// The box of voxels here that the region's box there reaches; none if it reaches none.
fn covered(held: &RegionVoxels, there: &Grid, here: &Grid) -> Option<Bounds> {
    let (mut lo, mut hi) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
    for corner in 0..8 {
        // Edges of voxels, half a voxel beyond their centres.
        let end = |axis: usize| match corner >> axis & 1 {
            0 => held.lo[axis] as f64 - 0.5,
            _ => held.hi[axis] as f64 - 0.5,
        };
        let place = index_of(here, there.ras_mm([end(0), end(1), end(2)]));
        for axis in 0..3 {
            lo[axis] = lo[axis].min(place[axis]);
            hi[axis] = hi[axis].max(place[axis]);
        }
    }
    let shape = here.shape();
    let clamp = |value: f64, axis: usize| value.clamp(0.0, shape[axis] as f64) as usize;
    let bounds = Bounds {
        lo: std::array::from_fn(|axis| clamp(lo[axis].floor(), axis)),
        hi: std::array::from_fn(|axis| clamp(hi[axis].ceil() + 1.0, axis)),
    };
    (0..3).all(|axis| bounds.lo[axis] < bounds.hi[axis]).then_some(bounds)
}

/// The index `[z, y, x]` of a point. Grids stand at right angles, so that each axis is read off by
/// its own column.
fn index_of(grid: &Grid, point: [f64; 3]) -> [f64; 3] {
    let affine = grid.affine();
    let from_origin: [f64; 3] = std::array::from_fn(|row| point[row] - affine[row][3]);
    let along = |column: usize| {
        let dot: f64 = (0..3).map(|row| from_origin[row] * affine[row][column]).sum();
        let squared: f64 = (0..3).map(|row| affine[row][column] * affine[row][column]).sum();
        dot / squared
    };
    [along(2), along(1), along(0)]
}
