//! The body's outline and the course of the spine: where every other landmark is looked for.

use ndarray::Array3;

use super::coarse::Coarse;
use super::track::{Candidate, track};

/// What is soft or denser: skin, not air.
const BODY_HU: f32 = -300.0;
/// Radius in which bone is summed: a vertebra and its arch.
const SPINE_MM: f64 = 26.0;
/// The spine lies no deeper than this below the skin of the back.
const DEEPEST_MM: f64 = 140.0;
/// And no further from the middle of the body.
const MAX_ASIDE_MM: f64 = 60.0;

/// Per slice, in voxels.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Centre of the spine, `[y, x]`.
    pub spine: Vec<[f64; 2]>,
    /// Every voxel's millimetres to air along its row and column, at most 40.
    pub depth_mm: Array3<f32>,
}

/// Finds the body and the spine; `None` where nothing lies on the table.
pub(crate) fn frame(coarse: &Coarse) -> Option<Frame> {
    let [nz, _, _] = coarse.shape();
    let boxes: Vec<Option<[usize; 4]>> = (0..nz).map(|z| outline(coarse, z)).collect();
    let candidates: Vec<Vec<Candidate>> = boxes
        .iter()
        .enumerate()
        .map(|(z, outline)| outline.map(|o| bones(coarse, z, o)).unwrap_or_default())
        .collect();
    let path = track(&candidates, 5.0, 1.2)?;
    let spine = path.iter().map(|c| [c.y as f64, c.x as f64]).collect();
    Some(Frame { spine, depth_mm: depth(coarse) })
}

/// First and last row and column of the body in a slice.
fn outline(coarse: &Coarse, z: usize) -> Option<[usize; 4]> {
    let slice = coarse.hu.index_axis(ndarray::Axis(0), z);
    let full = |count: usize, mm: f64| count as f64 * mm > 60.0;
    let rows: Vec<usize> = (0..slice.nrows())
        .filter(|&y| full(slice.row(y).iter().filter(|v| **v > BODY_HU).count(), coarse.step_mm[2]))
        .collect();
    let columns: Vec<usize> = (0..slice.ncols())
        .filter(|&x| {
            full(slice.column(x).iter().filter(|v| **v > BODY_HU).count(), coarse.step_mm[1])
        })
        .collect();
    Some([*rows.first()?, *rows.last()?, *columns.first()?, *columns.last()?])
}

/// How much bone lies around every place where the spine may be.
fn bones(coarse: &Coarse, z: usize, outline: [usize; 4]) -> Vec<Candidate> {
    let [top, bottom, left, right] = outline;
    let [_, dy, dx] = coarse.step_mm;
    let middle = (left + right) as f64 / 2.0;
    let aside = MAX_ASIDE_MM / dx;
    let highest = (bottom as f64 - DEEPEST_MM / dy).max((top + bottom) as f64 / 2.0 - 10.0 / dy);
    let ys = highest.max(0.0) as usize..=bottom;
    let xs = (middle - aside).max(0.0) as usize..=(middle + aside) as usize;
    let slice = coarse.hu.index_axis(ndarray::Axis(0), z);
    // Bone by its extent, hardly by its brightness: an aorta full of contrast is smaller.
    let value = |v: f32| (v - 120.0).clamp(0.0, 100.0) / 100.0;
    let mut found = Vec::new();
    let [ry, rx] = [SPINE_MM / dy, SPINE_MM / dx];
    for y in ys.step_by(2) {
        for x in xs.clone().step_by(2) {
            let (mut sum, mut count) = (0.0, 0.0_f32);
            for v in (y as f64 - ry).max(0.0) as usize..=(y as f64 + ry) as usize {
                for u in (x as f64 - rx).max(0.0) as usize..=(x as f64 + rx) as usize {
                    let far =
                        ((v as f64 - y as f64) / ry).powi(2) + ((u as f64 - x as f64) / rx).powi(2);
                    if far > 1.0 {
                        continue;
                    }
                    count += 1.0;
                    sum += slice.get([v, u]).map_or(0.0, |hu| value(*hu));
                }
            }
            // Behind the vertebra lies its arch, before it vessels and stomach: the hindmost wins.
            let back = 0.10 * (y as f64 - highest) as f32 * dy as f32 / DEEPEST_MM as f32;
            found.push(Candidate { y, x, size: 0, score: sum / count.max(1.0) + back, value: 0.0 });
        }
    }
    found
}

/// Distance to the nearest air along the four directions of a slice.
fn depth(coarse: &Coarse) -> Array3<f32> {
    let mut depth = Array3::<f32>::from_elem(coarse.hu.raw_dim(), 40.0);
    let [_, dy, dx] = coarse.step_mm.map(|mm| mm as f32);
    for (mut out, hu) in depth.outer_iter_mut().zip(coarse.hu.outer_iter()) {
        let (ny, nx) = hu.dim();
        // Gas in the bowel is no skin: only air that reaches the border counts.
        for y in 0..ny {
            let row: Vec<bool> = hu.row(y).iter().map(|v| *v > BODY_HU).collect();
            let (first, last) = ends(&row);
            for x in 0..nx {
                let near = near(x, first, last, dx);
                out[[y, x]] = out[[y, x]].min(near);
            }
        }
        for x in 0..nx {
            let column: Vec<bool> = hu.column(x).iter().map(|v| *v > BODY_HU).collect();
            let (first, last) = ends(&column);
            for y in 0..ny {
                let near = near(y, first, last, dy);
                out[[y, x]] = out[[y, x]].min(near);
            }
        }
    }
    depth
}

fn ends(line: &[bool]) -> (usize, usize) {
    let first = line.iter().position(|b| *b).unwrap_or(line.len());
    let last = line.iter().rposition(|b| *b).unwrap_or(0);
    (first, last)
}

fn near(at: usize, first: usize, last: usize, mm: f32) -> f32 {
    if at < first || at > last { 0.0 } else { (at - first).min(last - at) as f32 * mm }
}
