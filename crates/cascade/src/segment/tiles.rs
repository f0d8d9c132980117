//! Where the tiles of a volume lie.

use std::ops::Range;

/// A volume cut into tiles, all of one size. Axes `[z, y, x]` in the network's order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tiling {
    /// Size of a tile.
    pub tile: [usize; 3],
    /// Size of the volume once it is padded to at least one tile.
    pub padded: [usize; 3],
    /// Voxels padded before the volume's first, per axis.
    pub offset: [usize; 3],
    /// First voxels of the tiles per axis, in the padded volume, increasing.
    pub starts: [Vec<usize>; 3],
}

impl Tiling {
    /// Tiles of a `volume`, neighbours `step` of a tile apart at most.
    ///
    /// # Panics
    /// If a tile has no voxels or `step` is not in (0, 1]; the manifest's checks forbid it.
    pub(crate) fn new(volume: [usize; 3], tile: [usize; 3], step: f64) -> Tiling {
        assert!(tile.iter().all(|&n| n > 0) && step > 0.0 && step <= 1.0);
        let padded: [usize; 3] = std::array::from_fn(|axis| volume[axis].max(tile[axis]));
        Tiling {
            tile,
            padded,
            offset: std::array::from_fn(|axis| (padded[axis] - volume[axis]) / 2),
            starts: std::array::from_fn(|axis| starts(padded[axis], tile[axis], step)),
        }
    }

    /// Number of tiles.
    pub(crate) fn count(&self) -> usize {
        self.starts.iter().map(Vec::len).product()
    }

    /// First voxel of a tile in the padded volume; tiles are numbered with x fastest.
    ///
    /// # Panics
    /// If there is no such tile.
    pub(crate) fn start(&self, tile: usize) -> [usize; 3] {
        let [zs, ys, xs] = &self.starts;
        let row = tile / xs.len();
        [zs[row / ys.len()], ys[row % ys.len()], xs[tile % xs.len()]]
    }

    /// The slices of the padded volume that are complete once this tile is, the tiles before
    /// it being so: none unless it is the last of its z.
    pub(crate) fn finished_by(&self, tile: usize) -> Range<usize> {
        let [zs, ys, xs] = &self.starts;
        let (layer, place) = (tile / (ys.len() * xs.len()), tile % (ys.len() * xs.len()));
        let next = zs.get(layer + 1).copied().unwrap_or(self.padded[0]);
        let first = if place + 1 == ys.len() * xs.len() { zs[layer] } else { next };
        first..next
    }
}

/// First voxels of the tiles along one axis: as few as reach every voxel at this step,
/// spread evenly, rounded half to even (`compute_steps_for_sliding_window`).
fn starts(size: usize, tile: usize, step: f64) -> Vec<usize> {
    let spare = (size - tile) as f64;
    let intervals = (spare / (tile as f64 * step)).ceil();
    if intervals == 0.0 {
        return vec![0];
    }
    let distance = spare / intervals;
    (0..=intervals as usize).map(|i| (distance * i as f64).round_ties_even() as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn starts_are_those_of_nnunet() {
        assert_eq!(starts(110, 64, 0.5), [0, 23, 46]);
        assert_eq!(starts(64, 64, 0.5), [0]);
        assert_eq!(starts(41, 16, 0.5), [0, 6, 12, 19, 25]);
        assert_eq!(starts(272, 128, 0.5), [0, 48, 96, 144]);
        assert_eq!(starts(65, 64, 1.0), [0, 1]);
    }

    #[test]
    fn small_volumes_are_padded_below_by_the_smaller_half() {
        let tiling = Tiling::new([9, 200, 128], [16, 128, 128], 0.5);
        assert_eq!((tiling.padded, tiling.offset), ([16, 200, 128], [3, 0, 0]));
        assert_eq!(tiling.starts, [vec![0], vec![0, 36, 72], vec![0]]);
        assert_eq!(tiling.count(), 3);
    }

    #[test]
    fn slices_finish_in_order_with_the_last_tile_of_their_layer() {
        let tiling = Tiling::new([11, 9, 9], [4, 8, 6], 0.5);
        let ends = (0..tiling.count()).map(|tile| tiling.finished_by(tile));
        let finished: Vec<(usize, Range<usize>)> =
            ends.enumerate().filter(|(_, slices)| !slices.is_empty()).collect();
        assert_eq!(tiling.starts[0], [0, 2, 4, 5, 7]);
        assert_eq!(finished, [(3, 0..2), (7, 2..4), (11, 4..5), (15, 5..7), (19, 7..11)]);
        assert_eq!(tiling.start(6), [2, 1, 0]);
    }

    proptest! {
        #[test]
        fn every_voxel_is_in_a_tile_and_no_tile_leaves_the_volume(
            size in 1_usize..300, tile in 1_usize..80, step in 0.05_f64..=1.0,
        ) {
            let tiling = Tiling::new([size, tile, 1], [tile, tile, 1], step);
            let starts = &tiling.starts[0];
            prop_assert_eq!(starts[0], 0);
            prop_assert_eq!(starts[starts.len() - 1] + tile, tiling.padded[0]);
            for pair in starts.windows(2) {
                prop_assert!(pair[0] <= pair[1] && pair[1] <= pair[0] + tile);
            }
        }
    }
}
