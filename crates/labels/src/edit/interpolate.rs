//! Slices between drawn contours, by their signed distances.
//!
//! Owns the interpolation: the distance to each contour's edge, negative inside, is mixed in
//! proportion to the slices' distances; a voxel belongs to the region where the mix is negative
//! (Raya and Udupa 1990). Each contour is taken at its own centre and the centre moves along a
//! straight line, so that contours need not overlap.

use hepalert_voxels::image::distance::squared_distance_mm2;
use hepalert_voxels::image::fill::{Neighbours, bounding_box, flood};
use hepalert_voxels::volume::LabelMap;
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis as NdAxis, s};

use super::{is_over, row_stretches};
use crate::change::Stretch;
use crate::operation::{Axis, Voxel};
use crate::refused::Refused;
use crate::regions::label_at;

/// Contours in one go: more slices than a liver has.
const MAX_CONTOURS: usize = 256;

pub(super) fn interpolate(
    map: &LabelMap,
    at: &[Voxel],
    axis: Axis,
    over: Option<&[u8]>,
) -> Result<Vec<Stretch>, Refused> {
    let found = at.len();
    if found < 2 {
        return Err(Refused::TooFew { what: "contours", found, least: 2 });
    }
    if found > MAX_CONTOURS {
        return Err(Refused::TooMany { what: "contours", found, most: MAX_CONTOURS });
    }
    let across = axis.index();
    let mut at = at.to_vec();
    at.sort_by_key(|voxel| voxel[across]);
    let labels: Vec<u8> = at.iter().map(|voxel| label_at(map, *voxel)).collect::<Result<_, _>>()?;
    if let Some(place) = labels.iter().position(|label| *label == 0) {
        return Err(Refused::Background(at[place]));
    }
    let is_row = at.windows(2).all(|pair| pair[0][across] < pair[1][across]);
    if !is_row || labels.iter().any(|label| *label != labels[0]) {
        return Err(Refused::Contours);
    }
    let contours: Vec<Contour> = at.iter().map(|voxel| Contour::at(map, *voxel, across)).collect();
    let mut made = Vec::new();
    for pair in contours.windows(2) {
        between(map, &pair[0], &pair[1], (across, over), &mut made);
    }
    Ok(made)
}

/// A region's cut with one slice.
struct Contour {
    slice: usize,
    label: u8,
    /// First row and column of the cut's box.
    lo: [usize; 2],
    /// Row and column of its centre.
    centre: [f64; 2],
    /// Millimetres to its edge, negative inside, on its box and one pixel around; pixel `[1, 1]`
    /// is `lo`.
    edge_mm: Array2<f32>,
    spacing_mm: [f64; 2],
}

/// The two axes of `[z, y, x]` within a slice.
fn within(across: usize) -> [usize; 2] {
    match across {
        0 => [1, 2],
        1 => [0, 2],
        _ => [0, 1],
    }
}

/// One slice as a volume of one.
fn slice_of(map: &LabelMap, across: usize, slice: usize) -> ArrayView3<'_, u8> {
    let plane = map.voxels().index_axis(NdAxis(across), slice);
    plane.insert_axis(NdAxis(0))
}

impl Contour {
    fn at(map: &LabelMap, at: Voxel, across: usize) -> Contour {
        let label = map.voxels()[at];
        let axes = within(across);
        let seed = [0, at[axes[0]], at[axes[1]]];
        let own = slice_of(map, across, at[across]).mapv(|voxel| voxel == label);
        let mask = flood(own.view(), [seed], Neighbours::All);
        let Some((lo, hi)) = bounding_box(mask.view()) else {
            unreachable!("the seed is in the mask")
        };
        let cut = mask.slice(s![0, lo[1]..hi[1], lo[2]..hi[2]]);
        let spacing_mm = axes.map(|axis| map.grid().spacing_mm()[axis]);
        let lo = [lo[1], lo[2]];
        Contour {
            slice: at[across],
            label,
            lo,
            centre: centre(cut, lo),
            edge_mm: edge_mm(cut, spacing_mm),
            spacing_mm,
        }
    }

    /// Millimetres to the edge at a place that is so far from the centre, in pixels.
    fn edge(&self, from_centre: [f64; 2]) -> f64 {
        let place: [f64; 2] = std::array::from_fn(|axis| {
            from_centre[axis] + self.centre[axis] - self.lo[axis] as f64 + 1.0
        });
        let (rows, columns) = self.edge_mm.dim();
        let last = [rows - 1, columns - 1].map(|n| n as f64);
        let inner: [f64; 2] = std::array::from_fn(|axis| place[axis].clamp(0.0, last[axis]));
        // Beyond the box the way to the box counts too.
        let away_mm: [f64; 2] =
            std::array::from_fn(|axis| (place[axis] - inner[axis]) * self.spacing_mm[axis]);
        bilinear(self.edge_mm.view(), inner) + away_mm[0].hypot(away_mm[1])
    }

    /// How far its pixels reach from the centre, in pixels.
    fn reach(&self) -> [[f64; 2]; 2] {
        let (rows, columns) = self.edge_mm.dim();
        let size = [rows - 2, columns - 2];
        let lo = std::array::from_fn(|axis| self.lo[axis] as f64 - self.centre[axis]);
        [lo, std::array::from_fn(|axis| lo[axis] + size[axis] as f64)]
    }
}

fn centre(cut: ArrayView2<bool>, lo: [usize; 2]) -> [f64; 2] {
    let (mut sum, mut count) = ([0.0; 2], 0.0);
    for ((row, column), _) in cut.indexed_iter().filter(|(_, on)| **on) {
        sum[0] += row as f64;
        sum[1] += column as f64;
        count += 1.0;
    }
    std::array::from_fn(|axis| lo[axis] as f64 + sum[axis] / count)
}

fn edge_mm(cut: ArrayView2<bool>, spacing_mm: [f64; 2]) -> Array2<f32> {
    let (rows, columns) = cut.dim();
    let mut mask = Array3::from_elem((1, rows + 2, columns + 2), false);
    mask.slice_mut(s![0, 1..=rows, 1..=columns]).assign(&cut);
    let spacing = [1.0, spacing_mm[0], spacing_mm[1]];
    let to_inside = squared_distance_mm2(mask.view(), spacing);
    let to_outside = squared_distance_mm2(mask.mapv(|on| !on).view(), spacing);
    (to_inside.mapv(f32::sqrt) - to_outside.mapv(f32::sqrt)).remove_axis(NdAxis(0))
}

fn bilinear(values: ArrayView2<f32>, [row, column]: [f64; 2]) -> f64 {
    let (rows, columns) = values.dim();
    let [r, c] = [row, column].map(|n| n.floor() as usize);
    let [fr, fc] = [row - r as f64, column - c as f64];
    let [r1, c1] = [(r + 1).min(rows - 1), (c + 1).min(columns - 1)];
    let value = |row: usize, column: usize| f64::from(values[[row, column]]);
    (value(r, c) * (1.0 - fc) + value(r, c1) * fc) * (1.0 - fr)
        + (value(r1, c) * (1.0 - fc) + value(r1, c1) * fc) * fr
}

fn between(
    map: &LabelMap,
    low: &Contour,
    high: &Contour,
    (across, over): (usize, Option<&[u8]>),
    made: &mut Vec<Stretch>,
) {
    let shape = map.grid().shape();
    let axes = within(across);
    let sides = axes.map(|axis| shape[axis]);
    let [low_reach, high_reach] = [low.reach(), high.reach()];
    for slice in low.slice + 1..high.slice {
        let share = (slice - low.slice) as f64 / (high.slice - low.slice) as f64;
        let mix = |low: f64, high: f64| low * (1.0 - share) + high * share;
        // Whole pixels from the nearer contour: between two pixels a small one would lose its rim.
        let nearer = if share < 0.5 { low } else { high };
        let centre = [0, 1].map(|axis| {
            let wanted = mix(low.centre[axis], high.centre[axis]);
            nearer.centre[axis] + (wanted - nearer.centre[axis]).round()
        });
        let bound = |axis: usize, end: usize, pick: fn(f64, f64) -> f64| {
            centre[axis] + pick(low_reach[end][axis], high_reach[end][axis])
        };
        let lo = [0, 1].map(|axis| bound(axis, 0, f64::min).floor().max(0.0) as usize);
        let hi = [0, 1].map(|axis| sides[axis].min(bound(axis, 1, f64::max).ceil() as usize + 1));
        for row in lo[0]..hi[0] {
            for column in lo[1]..hi[1] {
                let mut at = [0; 3];
                (at[across], at[axes[0]], at[axes[1]]) = (slice, row, column);
                let from = [row as f64 - centre[0], column as f64 - centre[1]];
                let is_inside = mix(low.edge(from), high.edge(from)) < 0.0;
                let wanted = is_inside && is_over(over, map.voxels()[at]);
                let first = super::first_of(shape, at);
                row_stretches(std::iter::once(wanted), first, low.label, made);
            }
        }
    }
}
