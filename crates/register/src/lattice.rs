//! The control lattice: blocks of voxels and the nodes in their middles.
//!
//! Owns the arithmetic between voxels, blocks and nodes. The last block of an axis may hold
//! fewer voxels: no voxel is left without a node, whatever the dimension.

/// Blocks of `step` voxels along every axis, over an image of `voxels`; `[z, y, x]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lattice {
    /// The image's shape.
    pub voxels: [usize; 3],
    /// Voxels along the edge of a block.
    pub step: usize,
    /// Blocks along every axis.
    pub nodes: [usize; 3],
}

impl Lattice {
    /// # Panics
    /// If `step` is 0.
    pub fn new(voxels: [usize; 3], step: usize) -> Lattice {
        Lattice { voxels, step, nodes: voxels.map(|n| n.div_ceil(step)) }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.iter().product()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node's place in C order.
    pub fn index(&self, [z, y, x]: [usize; 3]) -> usize {
        (z * self.nodes[1] + y) * self.nodes[2] + x
    }

    /// The inverse of [`Lattice::index`].
    pub fn place(&self, index: usize) -> [usize; 3] {
        let [_, rows, columns] = self.nodes;
        [index / (rows * columns), index / columns % rows, index % columns]
    }

    /// The voxels of a block along one axis.
    pub fn range(&self, axis: usize, node: usize) -> std::ops::Range<usize> {
        let end = ((node + 1) * self.step).min(self.voxels[axis]);
        (node * self.step).min(end)..end
    }

    /// Where the middle of a whole block lies, in voxels.
    pub fn middle(&self, place: [usize; 3]) -> [f32; 3] {
        place.map(|node| (node as f32 + 0.5) * self.step as f32 - 0.5)
    }

    /// Where a voxel lies, in nodes along one axis; within the lattice.
    pub fn node_of(&self, axis: usize, voxel: f32) -> f32 {
        let at = (voxel + 0.5) / self.step as f32 - 0.5;
        at.clamp(0.0, (self.nodes[axis] - 1) as f32)
    }
}
