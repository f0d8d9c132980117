//! How badly every block of one image fits another for every displacement.
//!
//! The cost of a node and a displacement is the mean Hamming distance of the descriptors in its
//! block, in fixed point ([`UNIT`]). Counting bits over whole registers is what makes it fast:
//! eight voxels an instruction where the processor has AVX-512 VPOPCNTDQ, and the same loop in
//! what it has elsewhere. Refuses to know where the descriptors come from.

use ndarray::{Array3, ArrayView3, Axis};
use rayon::prelude::*;

use crate::lattice::Lattice;
use hepalert_voxels::image::vector::widest;

/// One unit of cost, in which the regulariser is 1 for neighbours that differ by one label:
/// costs reach 511 units before they saturate, and a mean bit counts 64 steps at the coarsest
/// level.
pub const UNIT: f32 = 128.0;
/// Widest search: 17 labels along an axis.
pub const MAX_RADIUS: usize = 8;
/// Voxels from one label to the next, at most.
pub const MAX_QUANT: usize = 5;
/// Voxels in one register of 512 bits.
const LANES: usize = 8;
/// What four labels read of a row.
const WINDOW: usize = LANES + 3 * MAX_QUANT + 1;

/// Which displacements are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// Labels from the middle to either side, along every axis.
    pub radius: usize,
    /// Voxels from one label to the next.
    pub quant: usize,
}

impl Search {
    /// Labels along one axis.
    pub fn side(self) -> usize {
        2 * self.radius + 1
    }

    /// Labels in all.
    pub fn labels(self) -> usize {
        self.side().pow(3)
    }

    /// The displacement of a label, in labels from the middle, `[z, y, x]`.
    pub fn offset(self, label: usize) -> [i32; 3] {
        let side = self.side();
        [label / (side * side), label / side % side, label % side]
            .map(|i| i as i32 - self.radius as i32)
    }
}

/// Descriptors with replicated columns on both sides, so that rows can be read at any shift.
pub struct Reachable {
    shape: [usize; 3],
    width: usize,
    codes: Vec<u64>,
}

impl Reachable {
    /// Widens every row by what the search reaches.
    pub fn new(codes: &Array3<u64>, search: Search) -> Reachable {
        let (depth, rows, columns) = codes.dim();
        let pad = search.radius * search.quant;
        assert!(search.quant <= MAX_QUANT && search.radius <= MAX_RADIUS);
        // The last label of the last columns may look at a whole window.
        let width = columns.next_multiple_of(LANES) + 2 * pad + WINDOW;
        let mut wide = vec![0; depth * rows * width];
        wide.par_chunks_mut(width).enumerate().for_each(|(row, out)| {
            let source = codes.index_axis(Axis(0), row / rows);
            let source = source.index_axis(Axis(0), row % rows);
            for (x, out) in out.iter_mut().enumerate() {
                *out = source[x.saturating_sub(pad).min(columns - 1)];
            }
        });
        Reachable { shape: [depth, rows, columns], width, codes: wide }
    }

    /// A row at any `[z, y]`: beyond the image, its nearest.
    fn row(&self, z: isize, y: isize) -> &[u64] {
        let [depth, rows, _] = self.shape;
        let z = z.clamp(0, depth as isize - 1) as usize;
        let y = y.clamp(0, rows as isize - 1) as usize;
        &self.codes[(z * rows + y) * self.width..][..self.width]
    }
}

/// Fills `slots` (one per node of the lattice, in C order, `search.labels()` long) with costs:
/// mean distance per voxel times `weight` units. Nodes of which less than half is `seen` get 0
/// everywhere: they have no opinion.
///
/// # Panics
/// If the slots are not as many as the nodes or the descriptors do not fill the lattice.
pub fn block_costs(
    fixed: &Array3<u64>,
    moving: &Reachable,
    lattice: &Lattice,
    search: Search,
    weight: f32,
    seen: Option<ArrayView3<'_, bool>>,
    slots: &mut [&mut [u16]],
) {
    assert_eq!(slots.len(), lattice.len());
    assert_eq!(fixed.shape(), lattice.voxels.as_slice());
    let [_, rows, columns] = lattice.nodes;
    slots.par_chunks_mut(columns).enumerate().for_each(|(line, slots)| {
        let line = Line { fixed, moving, lattice, search, node: [line / rows, line % rows] };
        line.costs(weight, slots);
        if let Some(seen) = &seen {
            for (x, slot) in slots.iter_mut().enumerate() {
                if line.seen(seen, x) < 0.5 {
                    slot.fill(0);
                }
            }
        }
    });
}

/// All nodes with one z and one y.
struct Line<'a> {
    fixed: &'a Array3<u64>,
    moving: &'a Reachable,
    lattice: &'a Lattice,
    search: Search,
    node: [usize; 2],
}

impl Line<'_> {
    /// The `[z, y]` of the rows that are compared.
    fn rows(&self) -> Vec<[usize; 2]> {
        let every = if self.lattice.step > 4 { 2 } else { 1 };
        let [zs, ys] = [0, 1].map(|axis| self.lattice.range(axis, self.node[axis]));
        zs.step_by(every).flat_map(|z| ys.clone().step_by(every).map(move |y| [z, y])).collect()
    }

    fn seen(&self, seen: &ArrayView3<'_, bool>, x: usize) -> f32 {
        let rows = self.rows();
        let columns = self.lattice.range(2, x);
        let count = |[z, y]: &[usize; 2]| columns.clone().filter(|x| seen[[*z, *y, *x]]).count();
        rows.iter().map(count).sum::<usize>() as f32 / (rows.len() * columns.len()) as f32
    }

    fn costs(&self, weight: f32, slots: &mut [&mut [u16]]) {
        let side = self.search.side();
        let rows = self.rows();
        let width = self.lattice.voxels[2].next_multiple_of(LANES);
        let mut fixed = vec![[0_u64; LANES]; rows.len() * width / LANES];
        for (r, [z, y]) in rows.iter().enumerate() {
            for x in 0..self.lattice.voxels[2] {
                fixed[x / LANES * rows.len() + r][x % LANES] = self.fixed[[*z, *y, x]];
            }
        }
        // Distances by column, for all labels that differ along x only.
        let mut columns = vec![[0_u32; LANES]; side * width / LANES];
        let scale = |nodes: usize| {
            let voxels = self.lattice.range(2, nodes).len() * rows.len();
            weight * UNIT / voxels as f32
        };
        let scales: Vec<f32> = (0..slots.len()).map(scale).collect();
        let reach = self.search.radius as isize;
        for (dz, dy) in (-reach..=reach).flat_map(|z| (-reach..=reach).map(move |y| (z, y))) {
            let q = self.search.quant as isize;
            let shifted =
                |[z, y]: &[usize; 2]| self.moving.row(*z as isize + dz * q, *y as isize + dy * q);
            let moving: Vec<&[u64]> = rows.iter().map(shifted).collect();
            widest(
                #[inline(always)]
                || self.distances(&fixed, &moving, &mut columns),
            );
            let first = ((dz + reach) as usize * side + (dy + reach) as usize) * side;
            for (x, (slot, scale)) in slots.iter_mut().zip(&scales).enumerate() {
                let range = self.lattice.range(2, x);
                let flat = columns.as_flattened();
                for (dx, out) in slot[first..first + side].iter_mut().enumerate() {
                    let sum: u32 = flat[dx * width..][range.clone()].iter().sum();
                    *out = (sum as f32 * scale + 0.5) as u16;
                }
            }
        }
    }

    #[inline(always)]
    fn distances(&self, fixed: &[[u64; LANES]], moving: &[&[u64]], out: &mut [[u32; LANES]]) {
        match self.search.quant {
            1 => self.distances_at::<1>(fixed, moving, out),
            2 => self.distances_at::<2>(fixed, moving, out),
            3 => self.distances_at::<3>(fixed, moving, out),
            4 => self.distances_at::<4>(fixed, moving, out),
            _ => self.distances_at::<5>(fixed, moving, out),
        }
    }

    /// Four labels at a time: what is fixed is loaded once for them.
    #[inline(always)]
    fn distances_at<const QUANT: usize>(
        &self,
        fixed: &[[u64; LANES]],
        moving: &[&[u64]],
        out: &mut [[u32; LANES]],
    ) {
        let (side, rows) = (self.search.side(), moving.len());
        let chunks = fixed.len() / rows;
        for (chunk, fixed) in fixed.chunks_exact(rows).enumerate() {
            let mut dx = 0;
            while dx < side {
                // Row x = 0 stands at `pad`, which is the reach of the search.
                let at = chunk * LANES + dx * QUANT;
                if side - dx >= 4 {
                    let four = sums::<QUANT, 4>(fixed, moving, at);
                    (0..4).for_each(|k| out[(dx + k) * chunks + chunk] = four[k]);
                    dx += 4;
                } else {
                    let [one] = sums::<QUANT, 1>(fixed, moving, at);
                    out[dx * chunks + chunk] = one;
                    dx += 1;
                }
            }
        }
    }
}

/// Distances over all rows for `N` labels from `at` on.
#[inline(always)]
fn sums<const QUANT: usize, const N: usize>(
    fixed: &[[u64; LANES]],
    moving: &[&[u64]],
    at: usize,
) -> [[u32; LANES]; N] {
    let mut sums = [[0_u64; LANES]; N];
    for (fixed, moving) in fixed.iter().zip(moving) {
        let Some(window) = moving[at..].first_chunk::<WINDOW>() else { continue };
        for (k, sum) in sums.iter_mut().enumerate() {
            for lane in 0..LANES {
                sum[lane] += u64::from((fixed[lane] ^ window[k * QUANT + lane]).count_ones());
            }
        }
    }
    sums.map(|sum| sum.map(|bits| bits as u32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes(shape: [usize; 3], seed: u64) -> Array3<u64> {
        let mut state = seed | 1;
        Array3::from_shape_simple_fn(shape, || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state & ((1 << 60) - 1)
        })
    }

    fn slow(
        a: &Array3<u64>,
        b: &Array3<u64>,
        lattice: &Lattice,
        node: usize,
        by: [isize; 3],
    ) -> f32 {
        let place = lattice.place(node);
        let [zs, ys, xs] = [0, 1, 2].map(|axis| lattice.range(axis, place[axis]));
        let every = if lattice.step > 4 { 2 } else { 1 };
        let (mut bits, mut voxels) = (0, 0);
        for z in zs.step_by(every) {
            for y in ys.clone().step_by(every) {
                for x in xs.clone() {
                    let q = [0, 1, 2].map(|axis| {
                        let last = lattice.voxels[axis] as isize - 1;
                        ([z, y, x][axis] as isize + by[axis]).clamp(0, last) as usize
                    });
                    bits += (a[[z, y, x]] ^ b[q]).count_ones();
                    voxels += 1;
                }
            }
        }
        bits as f32 / voxels as f32
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// Also where no dimension is a multiple of the block, and where an image is smaller.
        #[test]
        fn costs_are_mean_distances_up_to_the_border(
            shape in [1..12_usize, 1..12, 1..21],
            step in 1..9_usize,
            (radius, quant) in (1..3_usize, 1..4_usize),
            seed in any::<u64>(),
        ) {
            let (a, b) = (codes(shape, seed), codes(shape, seed ^ 0x5555));
            let (lattice, search) = (Lattice::new(shape, step), Search { radius, quant });
            let mut costs = vec![0; lattice.len() * search.labels()];
            let mut slots: Vec<_> = costs.chunks_exact_mut(search.labels()).collect();
            block_costs(&a, &Reachable::new(&b, search), &lattice, search, 0.5, None, &mut slots);
            for node in 0..lattice.len() {
                for label in 0..search.labels() {
                    let by = search.offset(label).map(|i| i as isize * quant as isize);
                    let expected = slow(&a, &b, &lattice, node, by) * 0.5 * UNIT;
                    let found = f32::from(costs[node * search.labels() + label]);
                    prop_assert!((found - expected).abs() <= 0.51, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn nodes_that_were_not_seen_have_no_opinion() {
        let (a, search) = (codes([4, 4, 8], 3), Search { radius: 1, quant: 1 });
        let lattice = Lattice::new([4, 4, 8], 4);
        let seen = Array3::from_shape_fn((4, 4, 8), |(_, _, x)| x < 5);
        let mut costs = vec![9; lattice.len() * search.labels()];
        let mut slots: Vec<_> = costs.chunks_exact_mut(search.labels()).collect();
        let reachable = Reachable::new(&a, search);
        block_costs(&a, &reachable, &lattice, search, 1.0, Some(seen.view()), &mut slots);
        assert!(costs[..27].iter().any(|cost| *cost > 0));
        assert!(costs[27..].iter().all(|cost| *cost == 0));
    }
}
