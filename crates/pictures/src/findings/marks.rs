//! What points at a lesion: its number, where it hides nothing, and an arrow.
//!
//! Owns places on a picture. Refuses to know voxels.

use ndarray::{Array2, Axis};

use crate::canvas::{Canvas, Colour, LINE_PX};
use hepalert_voxels::image::components::whole_components;

/// Length of an arrow and of its head, in pixels.
const ARROW_PX: usize = 46;
const HEAD_PX: usize = 12;
/// Distance of an arrow's tip from the lesion, in pixels.
const GAP_PX: usize = 6;
/// Pixels of a piece that is numbered beside a larger one of the same lesion.
const MIN_PIECE_PX: usize = 30;
/// Pieces of one lesion that are numbered in one slice.
const MAX_PIECES: usize = 6;

/// Places on one picture that are taken: `[column, row, width, height]`.
#[derive(Debug, Default)]
pub(super) struct Taken(Vec<[usize; 4]>);

impl Taken {
    /// Of a picture whose first line is a caption.
    pub(super) fn below_caption(width: usize) -> Taken {
        Taken(vec![[0, 0, width, LINE_PX + 4]])
    }

    /// The first free place for `words` around a mask: beside its top right, then left, above,
    /// below, then further and further down on either side. `None` for an empty mask.
    pub(super) fn claim(
        &mut self,
        mask: &Array2<bool>,
        words: &str,
        within: [usize; 2],
    ) -> Option<(usize, usize)> {
        let [[top, left], [bottom, right]] = bounds(mask)?;
        let (width, height) = (Canvas::text_width(words), LINE_PX);
        // Beside the mask itself: of a crescent the corners of its box lie far from it.
        let ends = |row: usize| {
            let mut on =
                mask.row(row).into_iter().enumerate().filter(|(_, on)| **on).map(|(x, _)| x);
            let first = on.next().unwrap_or(left);
            [first, on.next_back().unwrap_or(first)]
        };
        let ([from, to], [below, _]) = (ends(top), ends(bottom));
        let near = [
            (to + 4, top),
            (from.saturating_sub(width + 4), top),
            (from, top.saturating_sub(height + 2)),
            (below, bottom + 3),
        ];
        let down = |column: usize| {
            (0..within[0] / height).map(move |n| (column, (top + n * height) % within[0]))
        };
        let below = down(right + 4).chain(down(left.saturating_sub(width + 4)));
        let fits = |&(column, row): &(usize, usize)| {
            column + width <= within[1] && row + height <= within[0]
        };
        let free = |&(column, row): &(usize, usize)| {
            let overlaps = |[x, y, w, h]: &[usize; 4]| {
                column < x + w && *x < column + width && row < y + h && *y < row + height
            };
            !self.0.iter().any(overlaps)
        };
        let place = near.into_iter().chain(below).find(|at| fits(at) && free(at));
        let (column, row) = place.unwrap_or(near[0]);
        self.0.push([column, row, width, height]);
        Some((column, row))
    }
}

/// The pieces of a mask, the largest first and of equals the one that comes first: those that are
/// large enough to be seen, and always one; none of an empty mask.
pub(super) fn pieces(mask: &Array2<bool>) -> Vec<Array2<bool>> {
    let found = whole_components(mask.mapv(u8::from).view().insert_axis(Axis(0)));
    let mut sizes = vec![0; found.count];
    for run in &found.runs {
        sizes[run.component as usize] += run.voxels();
    }
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|piece| std::cmp::Reverse(sizes[*piece]));
    let seen = order.iter().filter(|piece| sizes[**piece] >= MIN_PIECE_PX).count().max(1);
    let of_one = |&piece: &usize| {
        let mut one = Array2::from_elem(mask.raw_dim(), false);
        for run in found.runs.iter().filter(|run| run.component as usize == piece) {
            let columns = run.x_lo as usize..run.x_hi as usize;
            one.slice_mut(ndarray::s![run.y as usize, columns]).fill(true);
        }
        one
    };
    order.iter().take(seen.min(MAX_PIECES)).map(of_one).collect()
}

/// The first and last row and column that a mask holds: `[[top, left], [bottom, right]]`.
fn bounds(mask: &Array2<bool>) -> Option<[[usize; 2]; 2]> {
    let mut held = mask.indexed_iter().filter(|(_, on)| **on).map(|(at, _)| at);
    let (row, column) = held.next()?;
    let mut found = [[row, column], [row, column]];
    for (row, column) in held {
        found[0] = [found[0][0].min(row), found[0][1].min(column)];
        found[1] = [found[1][0].max(row), found[1][1].max(column)];
    }
    Some(found)
}

/// An arrow towards the mask from a corner where there is room, ending just outside of it.
pub(super) fn arrow(canvas: &mut Canvas, mask: &Array2<bool>, colour: Colour) {
    let (height, width) = mask.dim();
    // From the upper left, upper right, lower left or lower right, whichever stays inside, to the
    // outermost voxel that way: beyond it there is no lesion.
    let sides = [[-1isize, -1isize], [1, -1], [-1, 1], [1, 1]].map(|away| {
        let along = |row: usize, column: usize| {
            away[0] * column.cast_signed() + away[1] * row.cast_signed()
        };
        let held =
            mask.indexed_iter().filter(|(_, on)| **on).map(|((row, column), _)| (row, column));
        held.max_by_key(|(row, column)| along(*row, *column))
            .map(|(row, column)| (column, row, away))
    });
    let has_room = |&(column, row, away): &(usize, usize, [isize; 2])| {
        let reach = (ARROW_PX + GAP_PX).cast_signed();
        let end = [column.cast_signed() + away[0] * reach, row.cast_signed() + away[1] * reach];
        (0..width.cast_signed()).contains(&end[0]) && (0..height.cast_signed()).contains(&end[1])
    };
    let Some((column, row, away)) = sides.into_iter().flatten().find(has_room) else { return };
    let corner = (column, row);
    let at = |steps: usize, across: isize| {
        let along = (steps + GAP_PX).cast_signed();
        let column = corner.0.cast_signed() + away[0] * along + across * away[0].signum();
        let row = corner.1.cast_signed() + away[1] * along - across * away[1].signum();
        (usize::try_from(column).ok(), usize::try_from(row).ok())
    };
    let mut dot = |steps: usize, across: isize| {
        if let (Some(column), Some(row)) = at(steps, across) {
            canvas.set(column, row, colour);
            canvas.set(column + 1, row, colour);
        }
    };
    for steps in 0..ARROW_PX {
        dot(steps, 0);
        dot(steps, 1);
        // The head opens away from the tip.
        if steps < HEAD_PX {
            let half = (steps / 2).cast_signed();
            (-half..=half).for_each(|across| dot(steps, across));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: [usize; 2], columns: [usize; 2]) -> Array2<bool> {
        Array2::from_shape_fn((200, 200), |(row, column)| {
            (rows[0]..rows[1]).contains(&row) && (columns[0]..columns[1]).contains(&column)
        })
    }

    #[test]
    fn numbers_never_cover_each_other_nor_leave_the_picture() {
        let mut taken = Taken::default();
        let places: Vec<_> = (0..9)
            .map(|n| taken.claim(&mask([90, 100], [170 + n, 190]), "12", [200, 200]).unwrap())
            .collect();
        for (n, a) in places.iter().enumerate() {
            assert!(a.0 + Canvas::text_width("12") <= 200 && a.1 + LINE_PX <= 200, "{a:?}");
            for b in &places[n + 1..] {
                let apart =
                    a.0.abs_diff(b.0) >= Canvas::text_width("12") || a.1.abs_diff(b.1) >= LINE_PX;
                assert!(apart, "{places:?}");
            }
        }
        assert_eq!(taken.claim(&mask([0, 0], [0, 0]), "1", [200, 200]), None);
    }

    #[test]
    fn the_largest_piece_comes_first_and_crumbs_beside_it_are_left_out() {
        let mut mask = mask([10, 30], [10, 40]);
        mask.slice_mut(ndarray::s![150..156, 150..156]).fill(true);
        mask.slice_mut(ndarray::s![100..105, 100..105]).fill(true);
        let boxes = |mask: &Array2<bool>| pieces(mask).iter().map(bounds).collect::<Vec<_>>();
        let seen = [Some([[10, 10], [29, 39]]), Some([[150, 150], [155, 155]])];
        assert_eq!(boxes(&mask), seen);
        let crumb = Array2::from_shape_fn((9, 9), |at| at == (3, 3));
        assert_eq!(boxes(&crumb), [Some([[3, 3], [3, 3]])]);
        assert_eq!(boxes(&Array2::from_elem((3, 3), false)), []);
    }

    /// A crescent holds nothing at the corners of its box.
    #[test]
    fn an_arrow_points_at_the_lesion_and_not_at_a_corner_of_its_box() {
        let lesion = Array2::from_shape_fn((200, 200), |(row, column)| {
            let r = (row as f64 - 100.0).hypot(column as f64 - 100.0);
            (30.0..36.0).contains(&r) && column < 100
        });
        let mut canvas = Canvas::new(200, 200);
        arrow(&mut canvas, &lesion, [255; 3]);
        let drawn = (0..200).flat_map(|y| (0..200).map(move |x| (x, y)));
        let drawn: Vec<_> = drawn.filter(|&(x, y)| canvas.get(x, y)[0] > 0).collect();
        let gap = |&(x, y): &(usize, usize)| {
            let held = lesion.indexed_iter().filter(|(_, on)| **on);
            let far = |(row, column): (usize, usize)| row.abs_diff(y).max(column.abs_diff(x));
            held.map(|(at, _)| far(at)).min().unwrap()
        };
        assert!(drawn.iter().map(gap).min().unwrap() <= GAP_PX);
    }

    #[test]
    fn an_arrow_ends_outside_the_lesion_and_points_from_where_there_is_room() {
        for (rows, columns) in [([90, 110], [90, 110]), ([4, 20], [4, 20]), ([180, 198], [2, 20])] {
            let lesion = mask(rows, columns);
            let mut canvas = Canvas::new(200, 200);
            arrow(&mut canvas, &lesion, [255; 3]);
            let drawn: Vec<_> = (0..200)
                .flat_map(|y| (0..200).map(move |x| (x, y)))
                .filter(|&(x, y)| canvas.get(x, y)[0] > 0)
                .collect();
            assert!(drawn.len() > 80, "{}", drawn.len());
            assert!(drawn.iter().all(|&(x, y)| !lesion[[y, x]]));
        }
    }
}
