//! What is run in which order: tiles and their mirror images, in calls of a fixed batch.
//!
//! A group of tiles is open at a time; each fold sees all of the group's patches before the
//! next does, so that the sum over folds and mirrors has one order, whatever the batch.

use std::ops::Range;

use ndarray::{Array5, ArrayView4, ArrayView5, ArrayViewMut4, Axis, Slice, Zip};

use super::tiles::Tiling;

/// One call of one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EngineCall {
    /// Which engine.
    pub engine: usize,
    /// The tiles of the open group, as places in the list of tiles that are run.
    pub group: Range<usize>,
    /// `(place in that list, flip)` of every place of the batch that counts.
    pub slots: Vec<(usize, usize)>,
    /// The last call of its group: the tiles are complete.
    pub closes: bool,
}

/// All calls of a study.
#[derive(Debug)]
pub(super) struct EngineCalls {
    engines: usize,
    batch: usize,
    /// Every set of axes `[z, y, x]` that is flipped, the empty set first.
    flips: Vec<Vec<usize>>,
    tiles: usize,
}

impl EngineCalls {
    pub(super) fn new(
        tiles: usize,
        mirror_axes: &[usize],
        engines: usize,
        batch: usize,
    ) -> EngineCalls {
        EngineCalls { engines, batch, flips: subsets(mirror_axes), tiles }
    }

    /// Engines, one per fold.
    pub(super) fn engines(&self) -> usize {
        self.engines
    }

    /// Calls that a tile is the mean of.
    pub(super) fn per_tile(&self) -> usize {
        self.engines * self.flips.len()
    }

    /// Tiles of a group: as many as fill a call with all their mirror images.
    pub(super) fn group(&self) -> usize {
        group_size(self.flips.len(), self.batch)
    }

    pub(super) fn flip(&self, flip: usize) -> &[usize] {
        &self.flips[flip]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = EngineCall> + '_ {
        (0..self.tiles).step_by(self.group()).flat_map(move |first| {
            let group = first..(first + self.group()).min(self.tiles);
            let all: Vec<(usize, usize)> = group
                .clone()
                .flat_map(|tile| (0..self.flips.len()).map(move |flip| (tile, flip)))
                .collect();
            let calls = all.len().div_ceil(self.batch);
            (0..self.engines * calls).map(move |n| {
                let (engine, call) = (n / calls, n % calls);
                let slots = all[call * self.batch..].iter().take(self.batch).copied().collect();
                let closes = n + 1 == self.engines * calls;
                EngineCall { engine, group: group.clone(), slots, closes }
            })
        })
    }
}

/// Tiles of a group, for a number of mirror images and a batch.
pub(super) fn group_size(flips: usize, batch: usize) -> usize {
    (batch / flips).max(1)
}

/// Fills the batch of a call from `image` `[channel, z, y, x]`. Places that do not count
/// repeat the last one that does; padding is 0 after normalisation.
pub(super) fn gather(
    call: &EngineCall,
    calls: &EngineCalls,
    (tiling, run): (&Tiling, &[usize]),
    image: ArrayView4<'_, f32>,
    patches: &mut Array5<f32>,
) {
    for (place, &(tile, flip)) in call.slots.iter().enumerate() {
        let mut patch = patches.index_axis_mut(Axis(0), place);
        for &axis in calls.flip(flip) {
            patch.invert_axis(Axis(axis + 1));
        }
        cut(image, tiling.start(run[tile]), tiling.offset, patch);
    }
    let filled = call.slots.len();
    let (filled, rest) = patches.view_mut().split_at(Axis(0), filled);
    let mut rest = rest;
    for mut patch in rest.outer_iter_mut() {
        patch.assign(&filled.index_axis(Axis(0), filled.len_of(Axis(0)) - 1));
    }
}

/// Copies the tile at `start` of the padded volume.
fn cut(
    image: ArrayView4<'_, f32>,
    start: [usize; 3],
    offset: [usize; 3],
    patch: ArrayViewMut4<'_, f32>,
) {
    let mut source = image;
    let mut target = patch;
    if (0..3).any(|axis| {
        let end = start[axis] + target.len_of(Axis(axis + 1));
        start[axis] < offset[axis] || end > offset[axis] + image.len_of(Axis(axis + 1))
    }) {
        target.fill(0.0);
    }
    for axis in 0..3 {
        let (size, tile) = (image.len_of(Axis(axis + 1)), target.len_of(Axis(axis + 1)));
        let first = start[axis].saturating_sub(offset[axis]);
        let skipped = offset[axis].saturating_sub(start[axis]);
        let last = (start[axis] + tile).saturating_sub(offset[axis]).min(size);
        source.slice_axis_inplace(Axis(axis + 1), Slice::from(first..last));
        let covered = skipped..skipped + (last - first);
        target.slice_axis_inplace(Axis(axis + 1), Slice::from(covered));
    }
    Zip::from(target.axis_iter_mut(Axis(1)))
        .and(source.axis_iter(Axis(1)))
        .par_for_each(|mut target, source| target.assign(&source));
}

/// A batch of answers with the flipped axes turned back.
pub(super) fn unflipped<'a>(answer: ArrayView4<'a, f32>, axes: &[usize]) -> ArrayView4<'a, f32> {
    let mut view = answer;
    for &axis in axes {
        view.invert_axis(Axis(axis + 1));
    }
    view
}

/// The places of a batch that count.
pub(super) fn answers<'a>(
    call: &EngineCall,
    logits: &'a ArrayView5<'_, f32>,
) -> ArrayView5<'a, f32> {
    logits.slice_axis(Axis(0), Slice::from(..call.slots.len()))
}

/// Every subset of the mirror axes.
fn subsets(mirror_axes: &[usize]) -> Vec<Vec<usize>> {
    let chosen = |bits: usize| {
        let axes = mirror_axes.iter().enumerate();
        axes.filter(|(i, _)| bits >> i & 1 == 1).map(|(_, &axis)| axis).collect()
    };
    let mut all: Vec<Vec<usize>> = (0..1_usize << mirror_axes.len()).map(chosen).collect();
    // Small sets first: nnU-Net's own order of summing.
    all.sort_by_key(Vec::len);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_of_four_holds_two_tiles_and_their_mirror_images() {
        let calls = EngineCalls::new(3, &[2], 2, 4);
        let call = |engine, group, slots: &[(usize, usize)], closes| EngineCall {
            engine,
            group,
            slots: slots.to_vec(),
            closes,
        };
        let both = [(0, 0), (0, 1), (1, 0), (1, 1)];
        let last = [(2, 0), (2, 1)];
        let expected = [
            call(0, 0..2, &both, false),
            call(1, 0..2, &both, true),
            call(0, 2..3, &last, false),
            call(1, 2..3, &last, true),
        ];
        assert_eq!(calls.iter().collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn every_tile_is_run_once_per_engine_and_flip_in_one_order(
            tiles in 1_usize..20, mirrors in 0_usize..3, engines in 1_usize..3, batch in 1_usize..9,
        ) {
            let axes: Vec<usize> = (0..mirrors).collect();
            let calls = EngineCalls::new(tiles, &axes, engines, batch);
            let mut of_tile = vec![Vec::new(); tiles];
            for call in calls.iter() {
                prop_assert!(!call.slots.is_empty() && call.slots.len() <= batch);
                for (tile, flip) in call.slots {
                    of_tile[tile].push((call.engine, flip));
                }
            }
            let flips = 1 << mirrors;
            let expected: Vec<(usize, usize)> =
                (0..engines).flat_map(|e| (0..flips).map(move |f| (e, f))).collect();
            prop_assert!(of_tile.iter().all(|runs| *runs == expected));
            let closed: Vec<Range<usize>> =
                calls.iter().filter(|p| p.closes).map(|p| p.group).collect();
            prop_assert_eq!(closed.concat_ranges(), (0..tiles).collect::<Vec<_>>());
        }
    }

    trait Concat {
        fn concat_ranges(self) -> Vec<usize>;
    }

    impl Concat for Vec<Range<usize>> {
        fn concat_ranges(self) -> Vec<usize> {
            self.into_iter().flatten().collect()
        }
    }
}
