//! How each operation is made: from a label map to the voxels that get a label.
//!
//! Owns the checks of what comes from outside and the work on boxes around regions. Nothing here
//! changes a map: an edit that is refused has changed nothing.

use hepalert_voxels::volume::LabelMap;
use ndarray::{Array3, ArrayView3, s};

use crate::change::{Change, Stretch};
use crate::operation::{Context, Operation};
use crate::refused::Refused;
use crate::regions::RegionVoxels;

mod copy;
mod erase;
mod fill;
mod grow;
mod interpolate;
mod merge;
mod split;

/// More runs than this are no edit of a person: a hundred thousand strokes of ten rows.
const MAX_RUNS: usize = 1 << 20;

/// What the operation makes of the map.
///
/// # Errors
/// [`Refused`] says why it cannot be done.
pub(crate) fn stretches(
    map: &LabelMap,
    operation: &Operation,
    context: Context,
) -> Result<Vec<Stretch>, Refused> {
    let shape = map.grid().shape();
    match operation {
        Operation::Relabel { at, label } => {
            Ok(RegionVoxels::at(map, *at)?.stretches(shape, *label))
        }
        Operation::Delete { at, becomes } => {
            let held = RegionVoxels::at(map, *at)?;
            Ok(held.stretches(shape, becomes.unwrap_or_else(|| held.surroundings(map))))
        }
        Operation::Merge { at, with } => merge::merge(map, *at, *with),
        Operation::SplitPlane { at, point_ras_mm, normal, label } => {
            split::by_plane(map, *at, (*point_ras_mm, *normal), *label)
        }
        Operation::SplitSeeds { at, seeds } => split::by_seeds(map, *at, seeds),
        Operation::Paint { runs, label, over } => paint(map, runs, *label, over.as_deref()),
        Operation::Fill { at, within } => fill::fill(map, *at, *within),
        Operation::Interpolate { at, axis, over } => {
            interpolate::interpolate(map, at, *axis, over.as_deref())
        }
        Operation::Grow { at, label, hu, reach_mm, inside } => {
            let wish = grow::Wish { at: *at, label: *label, hu: *hu, reach_mm: *reach_mm, inside };
            grow::grow(map, &wish, context.image)
        }
        Operation::CopyFrom { phase, at, label, over } => {
            let other = context.other.ok_or_else(|| Refused::NoPhase(phase.clone()))?;
            copy::copy(map, other, *at, *label, over.as_deref())
        }
        Operation::TakeFrom { at, over, .. } => {
            let other = context.other.filter(|other| other.grid().matches(map.grid()));
            take(map, other.ok_or(Refused::OtherGrid)?, *at, over.as_deref().unwrap_or(&[0]))
        }
    }
}

fn paint(
    map: &LabelMap,
    runs: &[[usize; 4]],
    label: u8,
    over: Option<&[u8]>,
) -> Result<Vec<Stretch>, Refused> {
    let shape = map.grid().shape();
    if runs.len() > MAX_RUNS {
        let found = runs.len();
        return Err(Refused::TooMany { what: "runs", found, most: MAX_RUNS });
    }
    let mut painted = Vec::new();
    for &[z, y, x, length] in runs {
        let at = [z, y, x];
        let is_inside = z < shape[0] && y < shape[1] && x < shape[2] && length <= shape[2] - x;
        if !is_inside {
            return Err(Refused::RunOutside { at, length, shape });
        }
        let row = map.voxels().slice(s![z, y, x..x + length]);
        let wanted = row.iter().map(|old| is_over(over, *old));
        row_stretches(wanted, first_of(shape, at), label, &mut painted);
    }
    // Strokes cross themselves: without an end to that, a few runs would be billions of voxels.
    let found = painted.iter().map(|run| run.length as usize).sum::<usize>();
    let most = 4 * map.grid().voxels();
    if found > most {
        return Err(Refused::TooMany { what: "painted voxels", found, most });
    }
    if label == 0 { erase::uncovered(map, &painted) } else { Ok(painted) }
}

/// Another map of this grid, or a region of it, over voxels of these labels.
fn take(
    map: &LabelMap,
    other: &LabelMap,
    at: Option<[usize; 3]>,
    over: &[u8],
) -> Result<Vec<Stretch>, Refused> {
    let mut after = map.voxels().clone();
    let wanted = at.map(|at| RegionVoxels::at(other, at)).transpose()?;
    let mask = wanted.map(|held| held.mask([0; 3], map.grid().shape()));
    for (at, &label) in other.voxels().indexed_iter().filter(|(_, label)| **label != 0) {
        let is_wanted = mask.as_ref().is_none_or(|mask| mask[at]);
        if is_wanted && over.contains(&after[at]) {
            after[at] = label;
        }
    }
    Ok(Change::between(map.voxels(), &after).stretches())
}

/// Whether a voxel that carries `old` may be painted over.
fn is_over(over: Option<&[u8]>, old: u8) -> bool {
    over.is_none_or(|over| over.contains(&old))
}

/// Place in memory order.
fn first_of(shape: [usize; 3], [z, y, x]: [usize; 3]) -> usize {
    (z * shape[1] + y) * shape[2] + x
}

fn row_stretches(
    wanted: impl Iterator<Item = bool>,
    first: usize,
    label: u8,
    found: &mut Vec<Stretch>,
) {
    let mut open: Option<Stretch> = None;
    for (at, wanted) in wanted.enumerate() {
        match (&mut open, wanted) {
            (Some(open), true) => open.length += 1,
            (None, true) => open = Some(Stretch { start: (first + at) as u32, length: 1, label }),
            (_, false) => found.extend(open.take()),
        }
    }
    found.extend(open);
}

/// A box of the map's voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    lo: [usize; 3],
    hi: [usize; 3],
}

impl Bounds {
    /// A region's box and so many voxels more on each side, where the image has them.
    fn around(held: &RegionVoxels, margin: [usize; 3], shape: [usize; 3]) -> Bounds {
        Bounds {
            lo: std::array::from_fn(|axis| held.lo[axis].saturating_sub(margin[axis])),
            hi: std::array::from_fn(|axis| {
                shape[axis].min(held.hi[axis].saturating_add(margin[axis]))
            }),
        }
    }

    fn hull(self, other: Bounds) -> Bounds {
        Bounds {
            lo: std::array::from_fn(|axis| self.lo[axis].min(other.lo[axis])),
            hi: std::array::from_fn(|axis| self.hi[axis].max(other.hi[axis])),
        }
    }

    fn of(self, map: &LabelMap) -> ArrayView3<'_, u8> {
        let Bounds { lo, hi } = self;
        map.voxels().slice(s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]])
    }

    /// The voxels of a mask on this box, to carry a label.
    fn stretches(self, mask: &Array3<bool>, shape: [usize; 3], label: u8) -> Vec<Stretch> {
        let mut found = Vec::new();
        for ((z, y), row) in
            ndarray::indices([mask.dim().0, mask.dim().1]).into_iter().zip(mask.rows())
        {
            let first = first_of(shape, [self.lo[0] + z, self.lo[1] + y, self.lo[2]]);
            row_stretches(row.iter().copied(), first, label, &mut found);
        }
        found
    }
}

#[cfg(test)]
mod tests;
