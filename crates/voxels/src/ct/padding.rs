//! Padding outside the field of view that is no air.
//!
//! A reconstruction is a circle in a square. What lies outside is written as some value; low
//! ones are harmless, high ones look like metal, and zeros like water.

use ndarray::ArrayViewMut2;

use super::AIR_HU;

/// Padding below this is as good as air.
const HARMLESS_HU: f32 = -900.0;

/// No pixel of a body is above: the end of the 12-bit scale.
const MAX_HU: f32 = 3_071.0;

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
    for value in values {
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
    let fits = |value: f32| (low..=high).contains(&value);
    let mut seen = vec![false; rows * columns];
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut visit = |at: (usize, usize), found: &mut Vec<(usize, usize)>| {
        let place = at.0 * columns + at.1;
        if !seen[place] && fits(plane[at]) {
            seen[place] = true;
            found.push(at);
        }
    };
    for row in 0..rows {
        visit((row, 0), &mut found);
        visit((row, columns - 1), &mut found);
    }
    for column in 0..columns {
        visit((0, column), &mut found);
        visit((rows - 1, column), &mut found);
    }
    let mut next = 0;
    while let Some(&(row, column)) = found.get(next) {
        next += 1;
        if row > 0 {
            visit((row - 1, column), &mut found);
        }
        if row + 1 < rows {
            visit((row + 1, column), &mut found);
        }
        if column > 0 {
            visit((row, column - 1), &mut found);
        }
        if column + 1 < columns {
            visit((row, column + 1), &mut found);
        }
    }
    if found.is_empty() || found.len() < least {
        return false;
    }
    found.into_iter().for_each(|at| plane[at] = AIR_HU);
    true
}
