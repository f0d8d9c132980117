//! One label map under correction.
//!
//! Owns the map in RAS order, the way back to the file's order, and what can be undone. Every
//! change goes through [`Labelling::apply`] or [`Labelling::put`]. Refuses files.

use std::collections::VecDeque;
use std::sync::Arc;

use hepalert_study::digest::Digest;
use hepalert_voxels::volume::{Axes, Grid, LabelMap, Volume};
use ndarray::Array3;

use crate::change::Change;
use crate::edit;
use crate::operation::{Context, Operation};
use crate::refused::Refused;
use crate::regions::{Regions, regions};

/// Steps that can be undone: an hour of strokes.
const MAX_STEPS: usize = 500;
/// Runs that all of them may hold together, 48 MiB; the last step always can be undone.
const MAX_RUNS: usize = 4 << 20;

/// A label map, in RAS order, with what was done to it.
#[derive(Debug, Clone)]
pub struct Labelling {
    stored: Arc<Grid>,
    axes: Axes,
    map: LabelMap,
    undo: VecDeque<Change>,
    redo: Vec<Change>,
}

impl Labelling {
    /// Begins with a map as its file has it.
    pub fn new(stored: LabelMap) -> Labelling {
        let grid = Arc::clone(stored.grid());
        let axes = Axes::ras(&grid);
        let map = axes.turn_volume(stored);
        Labelling { stored: grid, axes, map, undo: VecDeque::new(), redo: Vec::new() }
    }

    /// Begins with nothing, on the grid of an image as its file has it.
    pub fn empty(stored: &Arc<Grid>) -> Labelling {
        Labelling::new(Volume::new(Arc::clone(stored), Array3::zeros(stored.shape())))
    }

    /// Begins with another image's labels laid on the grid of this image as its file has it: the
    /// same voxels, whatever order either is stored in.
    ///
    /// # Errors
    /// [`Refused::OtherGrid`] if they do not lie where the image's voxels lie.
    pub fn on(stored: &Arc<Grid>, labels: LabelMap) -> Result<Labelling, Refused> {
        let mut labelling = Labelling::empty(stored);
        let turned = Axes::ras(labels.grid()).turn_volume(labels);
        if !turned.grid().matches(labelling.map.grid()) {
            return Err(Refused::OtherGrid);
        }
        labelling.map = Volume::new(Arc::clone(labelling.map.grid()), turned.into_voxels());
        Ok(labelling)
    }

    /// The labels in RAS order.
    pub fn map(&self) -> &LabelMap {
        &self.map
    }

    /// Names the grid in RAS order.
    pub fn grid_name(&self) -> String {
        grid_name(self.map.grid())
    }

    /// The labels as the file they came from has its voxels.
    pub fn stored(&self) -> LabelMap {
        let voxels = self.axes.inverse().view(self.map.voxels().view());
        Volume::new(Arc::clone(&self.stored), voxels.as_standard_layout().into_owned())
    }

    /// Makes an edit and tells what it changed.
    ///
    /// # Errors
    /// [`Refused`]; then nothing has changed.
    pub fn apply(&mut self, operation: &Operation, context: Context) -> Result<Change, Refused> {
        let stretches = edit::stretches(&self.map, operation, context)?;
        let change = Change::make(self.map.voxels_mut(), &stretches);
        Ok(self.done(change))
    }

    /// Takes other labels in place of these.
    ///
    /// # Panics
    /// If their shape is another.
    pub fn put(&mut self, voxels: Array3<u8>) -> Change {
        let change = Change::between(self.map.voxels(), &voxels);
        *self.map.voxels_mut() = voxels;
        self.done(change)
    }

    /// Takes the last change back as if it had not been made: what was undone before it cannot be
    /// redone any more.
    pub fn forget(&mut self) {
        if self.undo().is_some() {
            self.redo.clear();
        }
    }

    /// Gives the labels away, in RAS order.
    pub fn into_map(self) -> LabelMap {
        self.map
    }

    fn done(&mut self, change: Change) -> Change {
        if !change.is_empty() {
            self.redo.clear();
            self.undo.push_back(change.clone());
            self.bound();
        }
        change
    }

    fn bound(&mut self) {
        let mut runs: usize = self.undo.iter().map(|change| change.runs().len()).sum();
        while self.undo.len() > 1 && (self.undo.len() > MAX_STEPS || runs > MAX_RUNS) {
            runs -= self.undo.pop_front().map_or(0, |change| change.runs().len());
        }
    }

    /// Takes the last change back and tells what that changed; none if there is nothing to undo.
    pub fn undo(&mut self) -> Option<Change> {
        let change = self.undo.pop_back()?;
        change.revert(self.map.voxels_mut());
        let back = change.inverse();
        self.redo.push(change);
        Some(back)
    }

    /// Makes the change again that was taken back last.
    pub fn redo(&mut self) -> Option<Change> {
        let change = self.redo.pop()?;
        change.repeat(self.map.voxels_mut());
        self.undo.push_back(change.clone());
        Some(change)
    }

    /// How many steps can be undone, and how many redone.
    pub fn steps(&self) -> [usize; 2] {
        [self.undo.len(), self.redo.len()]
    }

    /// The single regions of every label.
    pub fn regions(&self) -> Regions {
        regions(&self.map, 1..=u8::MAX)
    }
}

/// 16 hex digits over shape and affine.
fn grid_name(grid: &Grid) -> String {
    let shape = grid.shape().into_iter().flat_map(|n| (n as u64).to_le_bytes());
    let affine = grid.affine().iter().flatten().flat_map(|entry| entry.to_le_bytes());
    let mut name = Digest::of(&shape.chain(affine).collect::<Vec<u8>>()).hex();
    name.truncate(16);
    name
}

#[cfg(test)]
mod tests {
    use hepalert_voxels::volume::Orientation;
    use hepalert_voxels::volume::nifti::read::read_labels;
    use hepalert_voxels::volume::nifti::write::write_u8;
    use proptest::prelude::*;

    use super::*;

    /// Turned by 12 degrees about the long axis of the patient.
    fn oblique(shape: [usize; 3]) -> Grid {
        let (sin, cos) = 12_f64.to_radians().sin_cos();
        let [sz, sy, sx] = [5.0, 0.8, 0.7];
        let affine = [
            [sx * cos, -sy * sin, 0.0, -50.0],
            [sx * sin, sy * cos, 0.0, 20.0],
            [0.0, 0.0, sz, -300.0],
        ];
        Grid::new(shape, [sz, sy, sx], affine)
    }

    /// RAS, LPS, every other order and direction, and each of them turned obliquely.
    fn grids() -> Vec<Grid> {
        let mut grids = Vec::new();
        for axes in ["RAS", "LPS", "LPI", "SRA", "PIR", "ASL", "IAL", "RSP"] {
            let orientation = Orientation::from_name(axes).unwrap();
            for upright in
                [Grid::axial([3, 4, 5], [5.0, 0.8, 0.7], [-9.0, 8.0, 7.0]), oblique([3, 4, 5])]
            {
                grids.push(Axes::to(orientation, &upright).grid(&upright));
            }
        }
        grids
    }

    fn numbered(grid: Grid) -> LabelMap {
        let [_, height, width] = grid.shape();
        let voxels = Array3::from_shape_fn(grid.shape(), |(z, y, x)| {
            (1 + (z * height + y) * width + x) as u8
        });
        Volume::new(Arc::new(grid), voxels)
    }

    #[test]
    fn a_map_comes_back_as_its_file_had_it() {
        for grid in grids() {
            let stored = numbered(grid);
            let labelling = Labelling::new(stored.clone());
            assert_eq!(Orientation::of(labelling.map().grid()), Orientation::RAS);
            let back = labelling.stored();
            assert_eq!((back.voxels(), back.grid()), (stored.voxels(), stored.grid()));
            // Through a file too: what `f32` of a header keeps is all that may be lost.
            let read = read_labels(&write_u8(&back)).unwrap();
            assert_eq!(read.voxels(), stored.voxels());
            assert!(read.grid().matches(stored.grid()));
            let again = read_labels(&write_u8(&Labelling::new(read.clone()).stored())).unwrap();
            assert_eq!((again.voxels(), again.grid()), (read.voxels(), read.grid()));
        }
    }

    #[test]
    fn an_edit_reaches_the_voxel_that_lies_there_in_the_patient() {
        for grid in grids() {
            let stored = Volume::new(Arc::new(grid.clone()), Array3::zeros(grid.shape()));
            let mut labelling = Labelling::new(stored);
            let at = [1, 0, 2];
            let place = labelling.map().grid().ras_mm(at.map(|n| n as f64));
            let paint = Operation::Paint { runs: vec![[1, 0, 2, 1]], label: 6, over: None };
            labelling.apply(&paint, Context::default()).unwrap();
            let back = labelling.stored();
            let painted: Vec<_> = back.voxels().indexed_iter().filter(|(_, l)| **l != 0).collect();
            let [((z, y, x), 6)] = painted[..] else { panic!("{painted:?}") };
            let found = grid.ras_mm([z as f64, y as f64, x as f64]);
            assert!(
                found.iter().zip(place).all(|(a, b)| (a - b).abs() < 1e-9),
                "{found:?} {place:?}"
            );
        }
    }

    #[test]
    fn labels_are_laid_on_an_image_stored_another_way() {
        let upright = Grid::axial([3, 4, 5], [5.0, 0.8, 0.7], [-9.0, 8.0, 7.0]);
        let labels = numbered(upright.clone());
        for axes in ["RAS", "LPS", "SRA", "PIR"] {
            let axes = Axes::to(Orientation::from_name(axes).unwrap(), &upright);
            let image = Arc::new(axes.grid(&upright));
            let labelling = Labelling::on(&image, labels.clone()).unwrap();
            assert_eq!(labelling.stored().grid(), &image);
            assert_eq!(labelling.stored().voxels(), &axes.turn(labels.voxels().clone()));
        }
        let elsewhere = Arc::new(Grid::axial([3, 4, 5], [5.0, 0.8, 0.7], [-9.0, 8.0, 7.5]));
        assert_eq!(Labelling::on(&elsewhere, labels).unwrap_err(), Refused::OtherGrid);
    }

    #[test]
    fn a_whole_map_is_put_and_taken_back() {
        let grid = Arc::new(Grid::axial([2, 2, 2], [1.0; 3], [0.0; 3]));
        let mut labelling = Labelling::empty(&grid);
        assert_eq!(labelling.put(Array3::from_elem([2, 2, 2], 3)).voxels(), 8);
        assert_eq!(labelling.undo().unwrap().voxels(), 8);
        assert_eq!(labelling.undo(), None);
    }

    #[test]
    fn the_name_of_a_grid_tells_shape_and_place() {
        const SHAPE: [usize; 3] = [2, 3, 4];
        let name = |shape, origin| grid_name(&Grid::axial(shape, [5.0, 1.0, 1.0], origin));
        assert_eq!(name(SHAPE, [0.0; 3]), name(SHAPE, [0.0; 3]));
        assert_eq!(name(SHAPE, [0.0; 3]).len(), 16);
        assert_ne!(name(SHAPE, [0.0; 3]), name([3, 2, 4], [0.0; 3]));
        assert_ne!(name(SHAPE, [0.0; 3]), name(SHAPE, [0.0, 0.1, 0.0]));
    }

    #[test]
    fn old_steps_are_forgotten_and_new_ones_never() {
        let grid = Arc::new(Grid::axial([1, 1, 2], [1.0; 3], [0.0; 3]));
        let mut labelling = Labelling::empty(&grid);
        for step in 0..2 * MAX_STEPS {
            let label = (step % 200) as u8 + 1;
            let paint = Operation::Paint { runs: vec![[0, 0, 0, 2]], label, over: None };
            labelling.apply(&paint, Context::default()).unwrap();
        }
        assert_eq!(labelling.steps(), [MAX_STEPS, 0]);
    }

    fn painting() -> impl Strategy<Value = Operation> {
        let run = (0..2usize, 0..3usize, 0..4usize)
            .prop_flat_map(|(z, y, x)| (1..=4 - x).prop_map(move |length| [z, y, x, length]));
        (proptest::collection::vec(run, 1..4), 0..4u8).prop_map(|(runs, label)| Operation::Paint {
            runs,
            label,
            over: None,
        })
    }

    proptest! {
        /// Any walk through edits, undo and redo stands where the list of maps stands.
        #[test]
        fn undo_and_redo_are_exact(
            walk in proptest::collection::vec((0..4u8, painting()), 1..40)
        ) {
            let grid = Arc::new(Grid::axial([2, 3, 4], [1.0; 3], [0.0; 3]));
            let mut labelling = Labelling::empty(&grid);
            let mut past = vec![labelling.map().voxels().clone()];
            let mut future = Vec::new();
            for (kind, paint) in walk {
                let before = labelling.map().voxels().clone();
                let change = match kind {
                    0 | 1 => Some(labelling.apply(&paint, Context::default()).unwrap()),
                    2 => labelling.undo(),
                    _ => labelling.redo(),
                };
                match (kind, &change) {
                    (0 | 1, Some(change)) if !change.is_empty() => {
                        past.push(labelling.map().voxels().clone());
                        future.clear();
                    }
                    (2, Some(_)) => future.push(past.pop().unwrap()),
                    (3, Some(_)) => past.push(future.pop().unwrap()),
                    _ => {}
                }
                prop_assert_eq!(labelling.map().voxels(), past.last().unwrap());
                prop_assert_eq!(labelling.steps(), [past.len() - 1, future.len()]);
                // Whoever holds the map before and hears of the change has the map after.
                let mut told = before;
                Change::make(&mut told, &change.map_or(vec![], |change| change.stretches()));
                prop_assert_eq!(&told, labelling.map().voxels());
            }
        }
    }
}
