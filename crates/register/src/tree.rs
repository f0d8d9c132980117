//! A spanning tree over the control lattice that joins blocks which look alike.
//!
//! Messages along a tree are exact and need one pass; a minimum spanning tree follows organs
//! and crosses their borders as seldom as it can. Prim's algorithm from the middle of the
//! lattice; equal edges go by node number, so an image has one tree.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ndarray::ArrayView3;
use rayon::prelude::*;

use crate::lattice::Lattice;
use hepalert_voxels::image::vector::widest;

/// Sums run in chunks of this many values, whatever the number of threads.
const CHUNK: usize = 1 << 16;
const NOBODY: u32 = u32::MAX;

/// A rooted tree over the nodes of a lattice, in breadth-first order: children of one node
/// stand side by side, and nodes of one depth too.
#[derive(Debug)]
pub struct Tree {
    /// The lattice's node at every place of the order; the root first.
    pub node: Vec<u32>,
    /// The place of every node's parent in the order; the root's own is 0.
    pub parent: Vec<u32>,
    /// Where a node's children stand in the order.
    pub children: Vec<std::ops::Range<u32>>,
    /// How much of its costs a node tells its parent, in 1/65536.
    pub share: Vec<u16>,
    /// The places of each depth in the order.
    pub depths: Vec<std::ops::Range<usize>>,
}

impl Tree {
    /// Costs of `labels` per place in the tree's order, handed out in the order of nodes.
    pub fn slots<'a>(&self, costs: &'a mut [u16], labels: usize) -> Vec<&'a mut [u16]> {
        let mut slots: Vec<_> = self.node.iter().zip(costs.chunks_exact_mut(labels)).collect();
        slots.sort_unstable_by_key(|(node, _)| **node);
        slots.into_iter().map(|(_, slot)| slot).collect()
    }
}

/// The tree of an image.
pub fn spanning_tree(image: ArrayView3<'_, f32>, lattice: &Lattice) -> Tree {
    let edges = [0, 1, 2].map(|axis| differences(image, lattice, axis));
    let (parent, distance) = prim(lattice, &edges);
    // exp(-d / (2 std)): neighbours that differ by the image's own deviation are told half.
    let scale = 2.0 * deviation(image).max(1e-6);
    let share = |d: f32| ((-d / scale).exp() * 65_535.0) as u16;
    order(&parent, &distance, share)
}

/// Mean absolute difference between every block and the next along `axis`.
fn differences(image: ArrayView3<'_, f32>, lattice: &Lattice, axis: usize) -> Vec<f32> {
    let [_, rows, columns] = lattice.nodes;
    let mut out = vec![f32::INFINITY; lattice.len()];
    let Some(voxels) = image.as_slice() else { return out };
    out.par_chunks_mut(columns).enumerate().for_each(|(line, out)| {
        for (x, out) in out.iter_mut().enumerate() {
            let place = [line / rows, line % rows, x];
            if place[axis] + 1 < lattice.nodes[axis] {
                *out = widest(
                    #[inline(always)]
                    || block_difference(voxels, lattice, place, axis),
                );
            }
        }
    });
    out
}

#[inline(always)]
fn block_difference(voxels: &[f32], lattice: &Lattice, place: [usize; 3], axis: usize) -> f32 {
    let [_, height, width] = lattice.voxels;
    let mut ranges = [0, 1, 2].map(|axis| lattice.range(axis, place[axis]));
    // The next block may be cut short.
    let next = lattice.range(axis, place[axis] + 1).len();
    ranges[axis].end = ranges[axis].start + next.min(ranges[axis].len());
    let away = lattice.step * [height * width, width, 1][axis];
    let mut sum = 0.0_f32;
    for z in ranges[0].clone() {
        for y in ranges[1].clone() {
            let start = (z * height + y) * width + ranges[2].start;
            let here = &voxels[start..start + ranges[2].len()];
            let there = &voxels[start + away..start + away + ranges[2].len()];
            for (a, b) in here.iter().zip(there) {
                sum += (a - b).abs();
            }
        }
    }
    sum / ranges.iter().map(|range| range.len()).product::<usize>() as f32
}

/// Standard deviation of an image's voxels.
fn deviation(image: ArrayView3<'_, f32>) -> f32 {
    let Some(voxels) = image.as_slice() else { return 1.0 };
    let moments = |chunk: &[f32]| {
        chunk.iter().fold([0.0_f64; 2], |[a, b], v| {
            let v = f64::from(*v);
            [a + v, b + v * v]
        })
    };
    let sums: Vec<[f64; 2]> = voxels.par_chunks(CHUNK).map(moments).collect();
    let [sum, squares] = sums.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
    let n = voxels.len().max(1) as f64;
    (squares / n - (sum / n).powi(2)).max(0.0).sqrt() as f32
}

/// For every node its parent and the edge to it.
fn prim(lattice: &Lattice, edges: &[Vec<f32>; 3]) -> (Vec<u32>, Vec<f32>) {
    let strides = [lattice.nodes[1] * lattice.nodes[2], lattice.nodes[2], 1];
    let mut parent = vec![NOBODY; lattice.len()];
    let mut distance = vec![f32::INFINITY; lattice.len()];
    let mut done = vec![false; lattice.len()];
    // Differences are not negative, so their bits order as they do.
    let mut heap = BinaryHeap::new();
    let root = lattice.index(lattice.nodes.map(|n| n / 2)) as u32;
    heap.push(Reverse((0_u32, root, root)));
    while let Some(Reverse((bits, node, from))) = heap.pop() {
        let at = node as usize;
        if std::mem::replace(&mut done[at], true) {
            continue;
        }
        (parent[at], distance[at]) = (from, f32::from_bits(bits));
        let place = lattice.place(at);
        for axis in 0..3 {
            let mut visit = |other: usize, edge: f32| {
                if !done[other] && edge < distance[other] {
                    distance[other] = edge;
                    heap.push(Reverse((edge.to_bits(), other as u32, node)));
                }
            };
            if place[axis] > 0 {
                visit(at - strides[axis], edges[axis][at - strides[axis]]);
            }
            if place[axis] + 1 < lattice.nodes[axis] {
                visit(at + strides[axis], edges[axis][at]);
            }
        }
    }
    (parent, distance)
}

/// Breadth-first order from parents by node number.
fn order(parent: &[u32], distance: &[f32], share: impl Fn(f32) -> u16) -> Tree {
    let n = parent.len();
    // Children lists, packed: node numbers ascend within a parent.
    let mut starts = vec![0_u32; n + 1];
    let is_child = |(node, of): &(usize, &u32)| *node as u32 != **of;
    for (_, of) in parent.iter().enumerate().filter(is_child) {
        starts[*of as usize + 1] += 1;
    }
    for i in 0..n {
        starts[i + 1] += starts[i];
    }
    let mut fill = starts.clone();
    let mut listed = vec![0_u32; n];
    for (node, of) in parent.iter().enumerate().filter(is_child) {
        listed[fill[*of as usize] as usize] = node as u32;
        fill[*of as usize] += 1;
    }
    let root = parent.iter().enumerate().position(|(node, of)| node as u32 == *of).unwrap_or(0);
    let mut tree = Tree {
        node: Vec::with_capacity(n),
        parent: Vec::with_capacity(n),
        children: Vec::with_capacity(n),
        share: Vec::with_capacity(n),
        depths: Vec::new(),
    };
    tree.node.push(root as u32);
    tree.parent.push(0);
    tree.share.push(u16::MAX);
    let mut begin = 0;
    while begin < tree.node.len() {
        let end = tree.node.len();
        tree.depths.push(begin..end);
        for place in begin..end {
            let node = tree.node[place] as usize;
            let first = tree.node.len() as u32;
            for child in &listed[starts[node] as usize..starts[node + 1] as usize] {
                tree.node.push(*child);
                tree.parent.push(place as u32);
                tree.share.push(share(distance[*child as usize]));
            }
            tree.children.push(first..tree.node.len() as u32);
        }
        begin = end;
    }
    tree
}
