//! Padding outside the field of view that is no air.
//!
//! A reconstruction is a circle in a square. What lies outside is written as some value; low
//! ones are harmless, high ones look like metal, and zeros like water.

use ndarray::{ArrayViewMut2, Axis, Zip};

use super::{AIR_HU, MAX_HU};
use crate::image::fill::{Neighbours, flood};

/// Padding below this is as good as air.
const HARMLESS_HU: f32 = -900.0;

/// Without a word in the header, values that could be of a body are padding only if they
/// fill two corners with the same number, and from there this much of the image.
const LEAST_AREA: f64 = 0.01;

/// Makes padding at the edge of a slice air; true if there was any.
pub(super) fn to_air(mut plane: ArrayViewMut2<'_, f32>, declared: Option<[f32; 2]>) -> bool {
    let (rows, columns) = plane.dim();
    if rows < 2 || columns < 2 {
        return false;
    }
    let mut changed = false;
    for [low, high] in declared.into_iter().filter(|[low, _]| *low > HARMLESS_HU) {
        changed |= paint(&mut plane, low, high, 1);
    }
    let corners = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)];
    let values = corners.map(|corner| plane[corner]);
    for (at, &value) in values.iter().enumerate() {
        if values[..at].contains(&value) {
            continue;
        }
        let twice = values.iter().filter(|other| **other == value).count() >= 2;
        if value > MAX_HU || (value > HARMLESS_HU && twice) {
            let least = (LEAST_AREA * plane.len() as f64).ceil() as usize;
            changed |= paint(&mut plane, value, value, least);
        }
    }
    changed
}

/// Paints what lies within `low..=high` and is connected to the edge, if it is `least` pixels
/// or more.
fn paint(plane: &mut ArrayViewMut2<'_, f32>, low: f32, high: f32, least: usize) -> bool {
    let (rows, columns) = plane.dim();
    let allowed = plane.mapv(|value| (low..=high).contains(&value)).insert_axis(Axis(0));
    let sides = (0..rows).flat_map(|row| [[0, row, 0], [0, row, columns - 1]]);
    let ends = (0..columns).flat_map(|column| [[0, 0, column], [0, rows - 1, column]]);
    let found = flood(allowed.view(), sides.chain(ends), Neighbours::Faces);
    let count = found.iter().filter(|is_found| **is_found).count();
    if count == 0 || count < least {
        return false;
    }
    Zip::from(plane).and(found.index_axis(Axis(0), 0)).for_each(|value, is_found| {
        if *is_found {
            *value = AIR_HU;
        }
    });
    true
}
