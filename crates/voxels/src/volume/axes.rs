//! Which way the axes of a grid run in the patient, and how to turn them.
//!
//! Owns the choice of the patient axis that each array axis is closest to, and the exact way
//! from one order of storage to another: axes change places and direction, no voxel changes
//! its value. Refuses to resample.

use std::fmt;
use std::sync::Arc;

use ndarray::{Array3, ArrayView3, ArrayViewMut3, Axis, Slice, Zip};

use super::{Grid, Volume};

/// Towards which side of the patient each index grows, as nibabel's `aff2axcodes` writes it:
/// the letters of x, y and z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Orientation([u8; 3]);

impl Orientation {
    /// To the right, the front and the head.
    pub const RAS: Orientation = Orientation(*b"RAS");
    /// To the left, the back and the head: an axial DICOM series, slices from the feet up.
    pub const LPS: Orientation = Orientation(*b"LPS");

    /// Of three letters, one of each pair: R or L, A or P, S or I.
    pub fn from_name(name: &str) -> Option<Orientation> {
        let letters: [u8; 3] = name.as_bytes().try_into().ok()?;
        let mut patient: Vec<usize> = letters
            .iter()
            .map(|&letter| side(letter).map(|(axis, _)| axis))
            .collect::<Option<_>>()?;
        patient.sort_unstable();
        (patient == [0, 1, 2]).then_some(Orientation(letters))
    }

    /// How a grid is stored.
    pub fn of(grid: &Grid) -> Orientation {
        let ras = Axes::ras(grid);
        let mut letters = [b' '; 3];
        for (axis, (&from, &reversed)) in ras.from.iter().zip(&ras.reversed).enumerate() {
            // Array axis 2 is x of the file, and patient axis 2 is x of the patient.
            letters[2 - from] = if reversed { b"IPL"[axis] } else { b"SAR"[axis] };
        }
        Orientation(letters)
    }
}

impl fmt::Display for Orientation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&letter| write!(f, "{}", char::from(letter)))
    }
}

/// The patient axis x, y or z that a letter speaks of, and whether it points down it.
fn side(letter: u8) -> Option<(usize, bool)> {
    let found = b"RASLPI".iter().position(|&known| known == letter)?;
    Some((found % 3, found >= 3))
}

/// How a study's array axes `[z, y, x]` are to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axes {
    /// `from[i]` is the array axis that becomes axis `i`.
    pub from: [usize; 3],
    /// Whether that axis is to be read backwards.
    pub reversed: [bool; 3],
}

impl Axes {
    /// As the array has them.
    pub const STORED: Axes = Axes { from: [0, 1, 2], reversed: [false; 3] };

    /// To the patient's head, front and right, in this order: the array `[z, y, x]` of an
    /// image in RAS orientation. The rule is nibabel's (`io_orientation`), without its removal
    /// of shear: grids of this program are at right angles.
    pub fn ras(grid: &Grid) -> Axes {
        // Columns x, y, z of the affine are the array axes 2, 1, 0.
        let mut columns = [0, 1, 2].map(|column| grid.affine().map(|row| row[column]));
        for column in &mut columns {
            let length = column.iter().map(|v| v * v).sum::<f64>().sqrt();
            column.iter_mut().for_each(|v| *v /= length);
        }
        let strength = |column: &[f64; 3]| column.iter().fold(0.0_f64, |a, v| a.max(v.abs()));
        let mut order = [0, 1, 2];
        order.sort_by(|&a, &b| strength(&columns[b]).total_cmp(&strength(&columns[a])));
        let mut axes = Axes::STORED;
        let mut taken = [false; 3];
        for column in order {
            let free = (0..3).filter(|&row| !taken[row]);
            let nearer = |best: usize, row: usize| {
                if columns[column][row].abs() > columns[column][best].abs() { row } else { best }
            };
            let Some(row) = free.reduce(nearer) else { unreachable!("three rows, three columns") };
            taken[row] = true;
            axes.from[2 - row] = 2 - column;
            axes.reversed[2 - row] = columns[column][row] < 0.0;
        }
        axes
    }

    /// To another orientation than RAS.
    pub fn to(orientation: Orientation, grid: &Grid) -> Axes {
        let ras = Axes::ras(grid);
        let mut axes = ras;
        for (axis, &letter) in orientation.0.iter().rev().enumerate() {
            let Some((patient, down)) = side(letter) else { unreachable!("checked when made") };
            axes.from[axis] = ras.from[2 - patient];
            axes.reversed[axis] = ras.reversed[2 - patient] != down;
        }
        axes
    }

    /// What is known of each stored slice, by slice of the turned volume; nothing where its slices lie
    /// along another axis.
    pub fn turn_slices<T>(self, mut by_slice: Vec<T>) -> Vec<T> {
        match (self.from[0], self.reversed[0]) {
            (0, false) => {}
            (0, true) => by_slice.reverse(),
            _ => by_slice.clear(),
        }
        by_slice
    }

    /// The way back.
    pub fn inverse(self) -> Axes {
        let mut back = Axes::STORED;
        for (axis, (&from, &reversed)) in self.from.iter().zip(&self.reversed).enumerate() {
            back.from[from] = axis;
            back.reversed[from] = reversed;
        }
        back
    }

    /// The same places in the patient, with these axes.
    pub fn grid(self, stored: &Grid) -> Grid {
        let first = std::array::from_fn(|axis| {
            let place = self.from.iter().position(|&from| from == axis);
            let reversed = place.is_some_and(|place| self.reversed[place]);
            if reversed { stored.shape()[axis] as f64 - 1.0 } else { 0.0 }
        });
        let origin = stored.ras_mm(first);
        let affine = std::array::from_fn(|row| {
            // Column x of the affine is array axis 2.
            let column = |axis: usize| {
                let step = stored.affine()[row][2 - self.from[axis]];
                if self.reversed[axis] { -step } else { step }
            };
            [column(2), column(1), column(0), origin[row]]
        });
        let shape = self.from.map(|axis| stored.shape()[axis]);
        Grid::new(shape, self.from.map(|axis| stored.spacing_mm()[axis]), affine)
    }

    /// A stored array seen along these axes.
    pub fn view<T>(self, stored: ArrayView3<'_, T>) -> ArrayView3<'_, T> {
        let mut view = stored.permuted_axes(self.from);
        for axis in (0..3).filter(|&axis| self.reversed[axis]) {
            view.invert_axis(Axis(axis));
        }
        view
    }

    /// A stored half-open box `[z, y, x]` of an array of this shape, along these axes.
    pub fn turn_box(self, shape: [usize; 3], [lo, hi]: [[usize; 3]; 2]) -> [[usize; 3]; 2] {
        let along = |axis: usize| {
            let from = self.from[axis];
            let (lo, hi, size) = (lo[from], hi[from], shape[from]);
            if self.reversed[axis] { (size - hi, size - lo) } else { (lo, hi) }
        };
        [std::array::from_fn(|axis| along(axis).0), std::array::from_fn(|axis| along(axis).1)]
    }

    /// The array along these axes, in C order. Without a second array where axes only change
    /// their direction.
    pub fn turn<T: Copy + Send + Sync>(self, mut voxels: Array3<T>) -> Array3<T> {
        if self.from != Axes::STORED.from {
            return self.view(voxels.view()).as_standard_layout().into_owned();
        }
        for axis in (0..3).filter(|&axis| self.reversed[axis]) {
            reverse(voxels.view_mut(), Axis(axis));
        }
        voxels
    }

    /// The volume along these axes: the same voxels at the same places in the patient.
    pub fn turn_volume<T: Copy + Send + Sync>(self, volume: Volume<T>) -> Volume<T> {
        if self == Axes::STORED {
            return volume;
        }
        let grid = Arc::new(self.grid(volume.grid()));
        Volume::new(grid, self.turn(volume.into_voxels()))
    }

    /// These axes taken in another order: axis `i` of the result is axis `order[i]` of these.
    pub fn permuted(self, order: [usize; 3]) -> Axes {
        Axes {
            from: order.map(|axis| self.from[axis]),
            reversed: order.map(|axis| self.reversed[axis]),
        }
    }
}

/// Exchanges the two halves of an axis, the second read backwards.
fn reverse<T: Copy + Send + Sync>(voxels: ArrayViewMut3<'_, T>, axis: Axis) {
    let size = voxels.len_of(axis);
    let (mut near, mut far) = voxels.split_at(axis, size / 2);
    far.slice_axis_inplace(axis, Slice::from(size % 2..));
    far.invert_axis(axis);
    Zip::from(&mut near).and(&mut far).par_for_each(std::mem::swap);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order and direction of three axes.
    fn all() -> impl Iterator<Item = Axes> {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        orders.into_iter().flat_map(|from| {
            (0..8).map(move |bits| Axes {
                from,
                reversed: [0, 1, 2].map(|axis| bits >> axis & 1 == 1),
            })
        })
    }

    #[test]
    fn every_order_of_storage_is_found_and_undone_to_the_voxel() {
        let lps = [[-0.8, 0.0, 0.0, 7.0], [0.0, -0.7, 0.0, 9.0], [0.0, 0.0, 5.0, -3.0]];
        let grid = Grid::new([4, 5, 7], [5.0, 0.7, 0.8], lps);
        let voxels = Array3::from_shape_fn([4, 5, 7], |(z, y, x)| 100 * z + 10 * y + x);
        let plain = Volume::new(Arc::new(grid), voxels);
        assert_eq!(Orientation::of(plain.grid()), Orientation::LPS);
        let mut names = std::collections::BTreeSet::new();
        for axes in all() {
            let stored = axes.turn_volume(plain.clone());
            names.insert(Orientation::of(stored.grid()).to_string());
            let back = Axes::to(Orientation::LPS, stored.grid());
            assert_eq!(back, axes.inverse());
            let inner = [[1, 0, 2], [3, 4, 6]];
            let turned = axes.turn_box([4, 5, 7], inner);
            assert_eq!(back.turn_box(stored.grid().shape(), turned), inner);
            let lo = stored.voxels()[turned[0]];
            assert!(voxels_of(&plain, inner).contains(&lo), "the box holds the same voxels");
            let found = back.turn_volume(stored);
            assert_eq!(found.voxels(), plain.voxels());
            assert!(found.grid().matches(plain.grid()));
            assert_eq!(found.grid().spacing_mm(), [5.0, 0.7, 0.8]);
        }
        assert_eq!(names.len(), 48);
    }

    fn voxels_of(volume: &Volume<usize>, [lo, hi]: [[usize; 3]; 2]) -> Vec<usize> {
        let inside = |at: [usize; 3]| (0..3).all(|axis| (lo[axis]..hi[axis]).contains(&at[axis]));
        let all = volume.voxels().indexed_iter();
        all.filter(|((z, y, x), _)| inside([*z, *y, *x])).map(|(_, &voxel)| voxel).collect()
    }

    #[test]
    fn an_orientation_names_each_axis_of_the_patient_once() {
        assert_eq!(Orientation::from_name("LPS"), Some(Orientation::LPS));
        for wrong in ["lps", "LPX", "LRS", "LP", "LPSS", ""] {
            assert_eq!(Orientation::from_name(wrong), None, "{wrong}");
        }
    }

    fn grid(affine: [[f64; 4]; 3]) -> Grid {
        Grid::new([4, 5, 6], [3.0, 2.0, 1.0], affine)
    }

    #[test]
    fn ras_is_stored_and_lps_is_reversed_in_plane() {
        let ras = [[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]];
        assert_eq!(Axes::ras(&grid(ras)), Axes::STORED);
        let lps = [[-1.0, 0.0, 0.0, 0.0], [0.0, -2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]];
        let found = Axes::ras(&grid(lps));
        assert_eq!(found, Axes { from: [0, 1, 2], reversed: [false, true, true] });
    }

    #[test]
    fn a_coronal_series_is_turned() {
        // x to the left, y to the feet, z to the front.
        let coronal = [[-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0], [0.0, -2.0, 0.0, 0.0]];
        let found = Axes::ras(&grid(coronal));
        assert_eq!(found, Axes { from: [1, 0, 2], reversed: [true, false, true] });
    }

    #[test]
    fn an_oblique_axis_goes_to_the_nearest_that_is_left() {
        let (c, s) = (0.8, 0.6);
        let tilted =
            [[1.0, 0.0, 0.0, 0.0], [0.0, 2.0 * c, -3.0 * s, 0.0], [0.0, 2.0 * s, 3.0 * c, 0.0]];
        assert_eq!(Axes::ras(&grid(tilted)), Axes::STORED);
    }

    #[test]
    fn another_order_moves_axes_with_their_direction() {
        let axes = Axes { from: [1, 0, 2], reversed: [true, false, false] };
        let found = axes.permuted([2, 0, 1]);
        assert_eq!(found, Axes { from: [2, 1, 0], reversed: [false, true, false] });
    }
}
