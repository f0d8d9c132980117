//! The levels of the deformable search, from coarse to fine, forwards and backwards.
//!
//! A level describes the fixed image and the moving one as warped so far, prices every block for
//! every displacement and lets the tree choose; then the same with the images changed about, and
//! the two fields are made consistent. Where this departs from the reference program (Heinrich's
//! deedsBCV), on measurements (docs/registration.md):
//! - nodes lie in the middle of their blocks, half-voxels counted; the last block of an axis may
//!   be a part of one: no border without data, no stretched lattice;
//! - a choice is refined between labels by a parabola through its neighbours' costs;
//! - after each level nodes agree with all their neighbours, each as firm as its costs are curved
//!   ([`Field::settle`]): the tree alone leaves steps between its branches, which fold;
//! - what was not scanned is marked and has no opinion, where the reference takes the border's
//!   voxels for anatomy;
//! - the moving image is interpolated once, not once per stage.

use ndarray::{Array3, Zip};
use rayon::prelude::*;

use crate::affine::Affine;
use crate::cost::{Reachable, Search, block_costs};
use crate::descriptor::{UNSEEN, describe, step_of};
use crate::field::Field;
use crate::lattice::Lattice;
use crate::messages::choose;
use crate::tree::{Tree, spanning_tree};
use crate::warp::Image;

/// Rounds in which a field and its inverse are made consistent.
const CONSISTENCY_ROUNDS: usize = 10;

/// One level: blocks and what is tried for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Voxels along the edge of a block, at most 8.
    pub block: usize,
    /// Displacements tried.
    pub search: Search,
}

impl Level {
    /// Blocks of `block` voxels; `radius` labels to either side, `quant` voxels apart.
    pub const fn new(block: usize, radius: usize, quant: usize) -> Level {
        Level { block, search: Search { radius, quant } }
    }
}

/// How displacements are estimated.
#[derive(Debug, Clone, PartialEq)]
pub struct DeformParams {
    /// From coarse to fine.
    pub levels: Vec<Level>,
    /// Divides what images say against what smoothness says.
    pub alpha: f32,
    /// How stiffly neighbouring nodes agree after each level; 0 leaves them as the tree has them.
    pub stiffness: f32,
}

impl DeformParams {
    /// The reference program's own search: 80 mm on a grid of 2 mm.
    pub fn wide() -> DeformParams {
        let levels = [(8, 8, 5), (7, 7, 4), (6, 6, 3), (5, 5, 2), (4, 4, 1)];
        let levels = levels.map(|(block, radius, quant)| Level::new(block, radius, quant)).to_vec();
        DeformParams { levels, alpha: 1.6, stiffness: 0.6 }
    }

    /// For phases of one examination: the patient has breathed, not moved elsewhere. 60 mm on a
    /// grid of 2 mm, and fewer labels to be wrong about; a sixth level of small blocks.
    pub fn phases() -> DeformParams {
        let levels = [(8, 6, 5), (7, 5, 4), (6, 4, 3), (5, 3, 2), (4, 2, 1), (3, 2, 1)];
        let levels = levels.map(|(block, radius, quant)| Level::new(block, radius, quant)).to_vec();
        DeformParams { levels, alpha: 1.6, stiffness: 0.6 }
    }
}

/// The descriptors of an image, those of voxels that were not scanned marked.
pub fn described(image: &Image, step: usize) -> Array3<u64> {
    let mut codes = describe(image.voxels.view(), step);
    if let Some(seen) = &image.seen {
        Zip::from(&mut codes).and(seen).par_for_each(|code, seen| {
            if !seen {
                *code = UNSEEN;
            }
        });
    }
    codes
}

/// What is known of one moving image on its way through the levels.
#[derive(Debug)]
struct Course<'a> {
    moving: &'a Image,
    map: Affine,
    moved: Image,
    there: Field,
    back: Field,
}

/// The fields of all moving images: voxel `p` of the fixed grid shows what moving image `i` has
/// at `map(p + u(p))`. The images go through every level side by side and share the fixed
/// image's descriptors and tree.
pub fn deform(fixed: &Image, moving: &[(&Image, Affine)], params: &DeformParams) -> Vec<Field> {
    let Some(first) = params.levels.first() else { return Vec::new() };
    if moving.is_empty() {
        return Vec::new();
    }
    let none = Field::zero(Lattice::new(fixed.shape(), first.block));
    let mut courses: Vec<Course<'_>> = moving
        .iter()
        .map(|(moving, map)| Course {
            moving,
            map: *map,
            moved: moving.warped(map, &none),
            there: none.clone(),
            back: none.clone(),
        })
        .collect();
    for level in &params.levels {
        let lattice = Lattice::new(fixed.shape(), level.block);
        let side = Side {
            image: fixed,
            codes: described(fixed, step_of(level.search.quant)),
            tree: spanning_tree(fixed.voxels.view(), &lattice),
        };
        courses
            .par_iter_mut()
            .for_each(|course| course.search_there(&side, lattice, level, params));
        // Its descriptors are not needed on the way back.
        drop(side);
        courses.par_iter_mut().for_each(|course| course.search_back(fixed, level, params));
    }
    courses.into_iter().map(|course| course.there).collect()
}

impl Course<'_> {
    fn search_there(
        &mut self,
        fixed: &Side<'_>,
        lattice: Lattice,
        level: &Level,
        params: &DeformParams,
    ) {
        self.there = self.there.on(lattice);
        self.back = self.back.on(lattice);
        let warped = self.moving.warped(&self.map, &self.there);
        let codes = described(&warped, step_of(level.search.quant));
        drop(warped);
        self.there = fixed.search(codes, &self.there, level, params);
    }

    fn search_back(&mut self, fixed: &Image, level: &Level, params: &DeformParams) {
        let step = step_of(level.search.quant);
        let moved = Side {
            image: &self.moved,
            codes: described(&self.moved, step),
            tree: spanning_tree(self.moved.voxels.view(), self.back.lattice()),
        };
        let codes = described(&fixed.warped(&Affine::IDENTITY, &self.back), step);
        self.back = moved.search(codes, &self.back, level, params);
        self.there.make_consistent(&mut self.back, CONSISTENCY_ROUNDS);
    }
}

/// The image that stays while the other is searched.
struct Side<'a> {
    image: &'a Image,
    codes: Array3<u64>,
    tree: Tree,
}

impl Side<'_> {
    /// `before` and what one level adds to it. `other` are the descriptors of the other image as
    /// `before` warps it.
    fn search(
        &self,
        other: Array3<u64>,
        before: &Field,
        level: &Level,
        params: &DeformParams,
    ) -> Field {
        let (lattice, search) = (*before.lattice(), level.search);
        let mut costs = vec![0_u16; lattice.len() * search.labels()];
        let mut slots = self.tree.slots(&mut costs, search.labels());
        let reachable = Reachable::new(&other, search);
        drop(other);
        let weight = 0.5 * level.block as f32 / (params.alpha * search.quant as f32);
        let seen = self.image.seen.as_ref().map(|seen| seen.view());
        block_costs(&self.codes, &reachable, &lattice, search, weight, seen, &mut slots);
        drop((slots, reachable));
        let quant = search.quant as f32;
        let in_labels = |node: &u32| before.nodes()[*node as usize].map(|u| u / quant);
        let start: Vec<[f32; 3]> = self.tree.node.iter().map(in_labels).collect();
        let choices = choose(&self.tree, search, &mut costs, &start);
        drop(costs);
        let mut nodes = before.nodes().to_vec();
        let mut certainty = vec![[0.0; 3]; nodes.len()];
        for (node, choice) in self.tree.node.iter().map(|node| *node as usize).zip(choices) {
            (0..3).for_each(|axis| nodes[node][axis] += choice.label[axis] * quant);
            certainty[node] = choice.certainty;
        }
        let mut field = Field::new(lattice, nodes);
        field.regularise(&certainty, params.stiffness);
        field
    }
}
