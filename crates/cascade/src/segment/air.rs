//! Tiles that are all air: the network is asked about one of them, the others are told the
//! same.
//!
//! Clipping makes all air one value. A tile whose every voxel in every channel is exactly that
//! value is, bit for bit, the same patch as every other such tile, mirrored or not; its scores
//! are computed once and used again. So nothing changes, with engines that answer the same
//! patch the same way twice, which the self-test demands. Channels that are not clipped
//! (z-score, none) have no air.

use ndarray::{ArrayView4, s};
use rayon::prelude::*;

use hepalert_bundles::NetworkPlan;
use hepalert_voxels::image::normalise::Normalisation;

use super::AirTiles;
use super::tiles::Tiling;

/// Which tiles are run, in order, and which are air.
pub(super) struct Order {
    /// Numbers of the tiles that are run: all but air, and the first of air.
    pub run: Vec<usize>,
    /// For every tile, whether it is air.
    pub air: Vec<bool>,
}

impl Order {
    /// `image` is `[channel, z, y, x]`, normalised.
    pub(super) fn new(
        image: ArrayView4<'_, f32>,
        network: &NetworkPlan,
        tiling: &Tiling,
        rule: AirTiles,
    ) -> Order {
        let floors: Option<Vec<f32>> =
            network.normalisation.iter().map(|scheme| Normalisation::floor(*scheme)).collect();
        let air: Vec<bool> = match (rule, floors) {
            (AirTiles::RunOnce, Some(floors)) => {
                let tiles = (0..tiling.count()).into_par_iter();
                tiles.map(|tile| is_air(image, tiling, tile, &floors)).collect()
            }
            (AirTiles::RunOnce, None) | (AirTiles::RunAll, _) => vec![false; tiling.count()],
        };
        let first = air.iter().position(|&air| air);
        let run = (0..air.len()).filter(|&tile| !air[tile] || Some(tile) == first).collect();
        Order { run, air }
    }
}

/// Whether every voxel is its channel's floor. Padding is not: it is 0.
fn is_air(image: ArrayView4<'_, f32>, tiling: &Tiling, tile: usize, floors: &[f32]) -> bool {
    let (start, size) = (tiling.start(tile), tiling.tile);
    let (_, depth, height, width) = image.dim();
    let inside = (0..3).all(|axis| {
        let end = start[axis] + size[axis];
        start[axis] >= tiling.offset[axis]
            && end <= tiling.offset[axis] + [depth, height, width][axis]
    });
    if !inside {
        return false;
    }
    let [z, y, x] = std::array::from_fn(|axis| start[axis] - tiling.offset[axis]);
    let [dz, dy, dx] = size;
    let patch = image.slice(s![.., z..z + dz, y..y + dy, x..x + dx]);
    patch.outer_iter().zip(floors).all(|(channel, floor)| channel.iter().all(|v| v == floor))
}
