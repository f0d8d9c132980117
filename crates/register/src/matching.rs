//! The first stage: where blocks lie by themselves, and the rigid or affine map most agree on.
//!
//! Every block takes the displacement that costs least, with a little help of its neighbours but
//! no regulariser; least trimmed squares sorts out the wrong ones. Also tells whether two images
//! lie on each other already.

use ndarray::Array3;
use rayon::prelude::*;

use crate::affine::{Affine, Freedom, Pair, fit};
use crate::cost::{Reachable, Search, UNIT, block_costs};
use crate::deform::{Level, described};
use crate::descriptor::step_of;
use crate::field::Field;
use crate::lattice::Lattice;
use crate::warp::Image;

/// Blocks darker than this on average are air, in Hounsfield units.
const AIR_HU: f32 = -700.0;
/// A block has an opinion if its cheapest displacement is this much cheaper than its mean one,
/// in mean bits.
const LEAST_CONTRAST_BITS: f32 = 1.0;
/// Two images lie on each other if so many blocks would stay ..
const STAYING: f64 = 0.9;
/// .. and so many of them to the voxel.
const STAYING_EXACTLY: f64 = 0.6;
/// Fewer blocks with an opinion than this settle nothing.
const LEAST_BLOCKS: usize = 24;

/// What a block would do alone.
#[derive(Debug, Clone, Copy)]
struct Wish {
    at: [f32; 3],
    /// In voxels.
    by: [f32; 3],
    bits: f32,
}

/// Improves `start` level by level; the map of the fixed grid's voxels to the moving image's.
/// Levels whose blocks determine no plausible map change nothing.
pub fn find(
    fixed: &Image,
    moving: &Image,
    start: Affine,
    levels: &[Level],
    freedom: Freedom,
) -> Affine {
    let mut map = start;
    for level in levels {
        let step = step_of(level.search.quant);
        let none = Field::zero(Lattice::new(fixed.shape(), level.block));
        let moved = moving.warped(&map, &none);
        let (a, b) = (described(fixed, step), described(&moved, step));
        let there = wishes(fixed, &a, &b, level);
        let back = wishes(&moved, &b, &a, level);
        let far = |wish: &Wish| [0, 1, 2].map(|c| f64::from(wish.at[c] + wish.by[c]));
        let near = |wish: &Wish| wish.at.map(f64::from);
        let forward = better_half(there).into_iter().map(|w| Pair { from: near(&w), to: far(&w) });
        let backward = better_half(back).into_iter().map(|w| Pair { from: far(&w), to: near(&w) });
        let pairs: Vec<Pair> = forward.chain(backward).collect();
        if let Some(update) = fit(&pairs, freedom) {
            map = update.then(&map);
        }
    }
    map
}

/// Whether an image with the descriptors `b` on the grid of `fixed` lies on it as it is. Those of
/// `fixed` are `a`, both with neighbours [`COMPARED`] voxels away: wider than a search by single
/// voxels has otherwise, since these are large blocks.
pub fn lies_on(fixed: &Image, a: &Array3<u64>, b: &Array3<u64>) -> bool {
    let level = Level { block: 8, search: Search { radius: 2, quant: 1 } };
    let wishes = wishes(fixed, a, b, &level);
    if wishes.len() < LEAST_BLOCKS {
        return false;
    }
    let within = |most: f32| {
        let near = |wish: &&Wish| wish.by.iter().all(|c| c.abs() <= most);
        wishes.iter().filter(near).count() as f64 / wishes.len() as f64
    };
    within(1.0) >= STAYING && within(0.0) >= STAYING_EXACTLY
}

/// Blocks of tissue away from the border that prefer one displacement.
fn wishes(image: &Image, own: &Array3<u64>, other: &Array3<u64>, level: &Level) -> Vec<Wish> {
    let lattice = Lattice::new(image.shape(), level.block);
    let (search, labels) = (level.search, level.search.labels());
    let mut costs = vec![0_u16; lattice.len() * labels];
    let mut slots: Vec<&mut [u16]> = costs.chunks_exact_mut(labels).collect();
    let reachable = Reachable::new(other, search);
    let seen = image.seen.as_ref().map(|seen| seen.view());
    block_costs(own, &reachable, &lattice, search, 1.0, seen, &mut slots);
    spread(&mut costs, &lattice, labels);
    let wish = |node: usize| {
        let place = lattice.place(node);
        let inner = (0..3).all(|a| place[a] > 0 && place[a] + 1 < lattice.nodes[a]);
        if !inner || is_air(image, &lattice, place) {
            return None;
        }
        let costs = &costs[node * labels..][..labels];
        // Of equal costs, the shortest way.
        let length = |label: usize| search.offset(label).iter().map(|c| c * c).sum::<i32>();
        let best = (0..labels).min_by_key(|label| (costs[*label], length(*label)))?;
        let mean = costs.iter().map(|c| f64::from(*c)).sum::<f64>() / labels as f64;
        let bits = f32::from(costs[best]) / UNIT;
        if (mean as f32 / UNIT - bits) < LEAST_CONTRAST_BITS {
            return None;
        }
        let by = search.offset(best).map(|c| (c * search.quant as i32) as f32);
        Some(Wish { at: lattice.middle(place), by, bits })
    };
    (0..lattice.len()).into_par_iter().filter_map(wish).collect()
}

fn is_air(image: &Image, lattice: &Lattice, place: [usize; 3]) -> bool {
    let [zs, ys, xs] = [0, 1, 2].map(|axis| lattice.range(axis, place[axis]));
    let block = image.voxels.slice(ndarray::s![zs, ys, xs]);
    block.mean().is_none_or(|mean| mean < AIR_HU)
}

/// Costs averaged with those of neighbouring blocks: a quarter, a half, a quarter per axis.
fn spread(costs: &mut Vec<u16>, lattice: &Lattice, labels: usize) {
    let [_, rows, columns] = lattice.nodes;
    for (axis, stride) in [rows * columns, columns, 1].into_iter().enumerate() {
        let mut out = vec![0_u16; costs.len()];
        out.par_chunks_exact_mut(labels).enumerate().for_each(|(node, out)| {
            let at = lattice.place(node)[axis];
            let before = if at > 0 { node - stride } else { node };
            let after = if at + 1 < lattice.nodes[axis] { node + stride } else { node };
            let [a, b, c] = [before, node, after].map(|node| &costs[node * labels..][..labels]);
            for (label, out) in out.iter_mut().enumerate() {
                let [a, b, c] = [a, b, c].map(|costs| u32::from(costs[label]));
                *out = (a + 2 * b + c).div_ceil(4) as u16;
            }
        });
        *costs = out;
    }
}

fn better_half(mut wishes: Vec<Wish>) -> Vec<Wish> {
    wishes.sort_by(|a, b| a.bits.total_cmp(&b.bits));
    wishes.truncate(wishes.len().div_ceil(2));
    wishes
}
