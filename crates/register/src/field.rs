//! Displacements on a control lattice, and what lies between its nodes.
//!
//! Owns evaluating, smoothing, and making a field and its inverse consistent. Displacements are
//! in voxels, `[z, y, x]`: the fixed image's voxel `p` shows what the moving one has at `p + u`.

use rayon::prelude::*;

use crate::lattice::Lattice;
use hepalert_voxels::image::vector::widest;

/// Rounds of Jacobi's method: what is uncertain hears of what is certain this many nodes away.
const SETTLE_ROUNDS: usize = 60;
/// Keeps nodes without any opinion from floating.
const LEAST_CERTAINTY: f32 = 1e-3;

/// A displacement for every node.
#[derive(Debug, Clone)]
pub struct Field {
    lattice: Lattice,
    nodes: Vec<[f32; 3]>,
}

/// Two nodes and how much of the second, along one axis.
#[derive(Clone, Copy)]
struct Tap {
    first: usize,
    second: usize,
    share: f32,
}

impl Field {
    /// No displacement anywhere.
    pub fn zero(lattice: Lattice) -> Field {
        Field { lattice, nodes: vec![[0.0; 3]; lattice.len()] }
    }

    /// # Panics
    /// If there is not one displacement per node.
    pub fn new(lattice: Lattice, nodes: Vec<[f32; 3]>) -> Field {
        assert_eq!(nodes.len(), lattice.len());
        Field { lattice, nodes }
    }

    /// The lattice.
    pub fn lattice(&self) -> &Lattice {
        &self.lattice
    }

    /// The displacements in C order.
    pub fn nodes(&self) -> &[[f32; 3]] {
        &self.nodes
    }

    fn tap(&self, axis: usize, voxel: f32) -> Tap {
        let at = self.lattice.node_of(axis, voxel);
        let first = (at as usize).min(self.lattice.nodes[axis] - 1);
        let second = (first + 1).min(self.lattice.nodes[axis] - 1);
        Tap { first, second, share: at - first as f32 }
    }

    /// The displacement at a place in voxels; outside, that of the nearest node.
    pub fn at(&self, voxel: [f32; 3]) -> [f32; 3] {
        let [z, y, x] = [0, 1, 2].map(|axis| self.tap(axis, voxel[axis]));
        let node = |z, y, x| self.nodes[self.lattice.index([z, y, x])];
        let along_x = |z, y| mix(node(z, y, x.first), node(z, y, x.second), x.share);
        let along_y = |z| mix(along_x(z, y.first), along_x(z, y.second), y.share);
        mix(along_y(z.first), along_y(z.second), z.share)
    }

    /// The same displacements seen from another lattice over the same voxels.
    pub fn on(&self, lattice: Lattice) -> Field {
        let nodes = (0..lattice.len()).into_par_iter();
        let nodes = nodes.map(|node| self.at(lattice.middle(lattice.place(node)))).collect();
        Field { lattice, nodes }
    }

    /// Rounds of `u <- (u - v(p + u)) / 2` for this field and its inverse, both from the pair
    /// before: afterwards going there and back leads close to where one came from.
    pub fn make_consistent(&mut self, inverse: &mut Field, rounds: usize) {
        for _ in 0..rounds {
            let (there, back) = (self.less(inverse), inverse.less(self));
            (self.nodes, inverse.nodes) = (there, back);
        }
    }

    fn less(&self, other: &Field) -> Vec<[f32; 3]> {
        let nodes = self.nodes.par_iter().enumerate();
        let halved = nodes.map(|(node, u)| {
            let p = self.lattice.middle(self.lattice.place(node));
            let v = other.at([0, 1, 2].map(|axis| p[axis] + u[axis]));
            [0, 1, 2].map(|axis| 0.5 * (u[axis] - v[axis]))
        });
        halved.collect()
    }

    /// Binomial smoothing over nodes along every axis, `times` over; borders are continued.
    pub fn smooth(&mut self, times: usize) {
        let [_, rows, columns] = self.lattice.nodes;
        for (axis, stride) in
            [rows * columns, columns, 1].into_iter().enumerate().cycle().take(3 * times)
        {
            let last = self.lattice.nodes[axis] - 1;
            let before = &self.nodes;
            let smoothed = (0..before.len()).into_par_iter().map(|node| {
                let at = self.lattice.place(node)[axis];
                let low = before[if at > 0 { node - stride } else { node }];
                let high = before[if at < last { node + stride } else { node }];
                [0, 1, 2].map(|c| 0.25 * (low[c] + high[c]) + 0.5 * before[node][c])
            });
            self.nodes = smoothed.collect();
        }
    }

    /// Lets neighbours agree: minimises `sum of certainty * |u - own|^2 + stiffness * sum over
    /// edges |u - neighbour|^2` by rounds of Jacobi's method.
    pub fn regularise(&mut self, certainty: &[[f32; 3]], stiffness: f32) {
        if stiffness <= 0.0 {
            return;
        }
        let own = self.nodes.clone();
        let [depth, rows, columns] = self.lattice.nodes;
        let strides = [rows * columns, columns, 1];
        for _ in 0..SETTLE_ROUNDS {
            let before = &self.nodes;
            let next = (0..own.len()).into_par_iter().map(|node| {
                let at = self.lattice.place(node);
                let (mut sum, mut edges) = ([0.0_f32; 3], 0.0_f32);
                let mut add = |other: usize| {
                    (0..3).for_each(|c| sum[c] += before[other][c]);
                    edges += 1.0;
                };
                for (axis, n) in [depth, rows, columns].into_iter().enumerate() {
                    if at[axis] > 0 {
                        add(node - strides[axis]);
                    }
                    if at[axis] + 1 < n {
                        add(node + strides[axis]);
                    }
                }
                [0, 1, 2].map(|c| {
                    let w = certainty[node][c] + LEAST_CERTAINTY;
                    (w * own[node][c] + stiffness * sum[c]) / (w + stiffness * edges)
                })
            });
            self.nodes = next.collect();
        }
    }

    /// Prepares for evaluating rows of voxels one after the other.
    pub fn rows(&self) -> Rows<'_> {
        let taps = (0..self.lattice.voxels[2]).map(|x| self.tap(2, x as f32)).collect();
        Rows { field: self, taps }
    }
}

/// Evaluates a field along rows.
pub struct Rows<'a> {
    field: &'a Field,
    taps: Vec<Tap>,
}

impl Rows<'_> {
    /// The displacements of all voxels of the row `[z, y]`.
    pub fn at(&self, z: usize, y: usize, out: &mut Vec<[f32; 3]>) {
        let field = self.field;
        let (z, y) = (field.tap(0, z as f32), field.tap(1, y as f32));
        let columns = field.lattice.nodes[2];
        let line = |z: usize, y: usize| &field.nodes[field.lattice.index([z, y, 0])..][..columns];
        let four = [
            line(z.first, y.first),
            line(z.first, y.second),
            line(z.second, y.first),
            line(z.second, y.second),
        ];
        let node = |x: usize| {
            let [a, b, c, d] = four.map(|line| line[x]);
            mix(mix(a, b, y.share), mix(c, d, y.share), z.share)
        };
        let nodes: Vec<[f32; 3]> = (0..columns).map(node).collect();
        out.clear();
        widest(
            #[inline(always)]
            || {
                let between = |tap: &Tap| mix(nodes[tap.first], nodes[tap.second], tap.share);
                out.extend(self.taps.iter().map(between));
            },
        );
    }
}

#[inline(always)]
fn mix(a: [f32; 3], b: [f32; 3], share: f32) -> [f32; 3] {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * share)
}
