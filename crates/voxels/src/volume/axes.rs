//! Which way the axes of a grid run in the patient.
//!
//! Owns the choice of the patient axis that each array axis is closest to. Refuses to move
//! voxels: callers look at arrays along the axes they want.

use super::Grid;

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

    /// These axes taken in another order: axis `i` of the result is axis `order[i]` of these.
    pub fn permuted(self, order: [usize; 3]) -> Axes {
        Axes {
            from: order.map(|axis| self.from[axis]),
            reversed: order.map(|axis| self.reversed[axis]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
