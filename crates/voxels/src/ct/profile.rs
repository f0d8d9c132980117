//! One pass over a slice: which rows and columns hold a single value, and how much body each
//! of them crosses.

use ndarray::ArrayView2;

/// Soft tissue, fat and bone; not air, not lung, not what lies beyond any scale.
const BODY_HU: std::ops::Range<f32> = -300.0..3000.0;

/// The rows of a slice, or its columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lines {
    /// The one value of a line, if it has only one.
    pub(super) constant: Vec<Option<f32>>,
    /// Pixels of body in each line. A line of one value shows none, whatever the value.
    pub(super) body: Vec<u32>,
}

impl Lines {
    /// Takes the pixels of lines of one value out of the lines that cross them.
    fn take_out(&mut self, crossing: &Lines) {
        let blank = |value: &&Option<f32>| value.is_some_and(|value| BODY_HU.contains(&value));
        let blanks = crossing.constant.iter().filter(blank).count() as u32;
        self.body.iter_mut().for_each(|body| *body = body.saturating_sub(blanks));
    }

    fn clear_constant(&mut self) {
        let pairs = self.body.iter_mut().zip(&self.constant);
        pairs.filter(|(_, value)| value.is_some()).for_each(|(body, _)| *body = 0);
    }
}

/// What is remembered of a slice.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Profile {
    pub(super) rows: Lines,
    pub(super) columns: Lines,
    /// Equal for equal pixels.
    pub(super) digest: u64,
}

impl Profile {
    /// `None` if a pixel is no number.
    pub(super) fn of(plane: &ArrayView2<'_, f32>) -> Option<Profile> {
        let (rows, columns) = plane.dim();
        let mut across = Lines { constant: Vec::with_capacity(rows), body: Vec::new() };
        let mut down = Lines { constant: vec![None; columns], body: vec![0; columns] };
        let first: Vec<f32> = plane.rows().into_iter().next()?.to_vec();
        down.constant.iter_mut().zip(&first).for_each(|(to, value)| *to = Some(*value));
        let mut digest = 0_u64;
        for row in plane.rows() {
            let mut body = 0;
            let mut sum = 0.0_f32;
            for ((value, constant), below) in row.iter().zip(&mut down.constant).zip(&mut down.body)
            {
                let inside = u32::from(BODY_HU.contains(value));
                body += inside;
                *below += inside;
                // Infinity or NaN stays so in a sum of absolutes.
                sum += value.abs();
                if constant.is_some_and(|constant| constant != *value) {
                    *constant = None;
                }
                digest = (digest.rotate_left(5) ^ u64::from(value.to_bits()))
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            }
            if !sum.is_finite() {
                return None;
            }
            let start = row[0];
            across.constant.push(row.iter().all(|value| *value == start).then_some(start));
            across.body.push(body);
        }
        across.take_out(&down);
        down.take_out(&across);
        across.clear_constant();
        down.clear_constant();
        Some(Profile { rows: across, columns: down, digest })
    }

    /// Whether all pixels are one value.
    pub(super) fn is_constant(&self) -> bool {
        let first = self.rows.constant.first().copied().flatten();
        first.is_some() && self.rows.constant.iter().all(|value| *value == first)
    }

    /// Body pixels of the whole slice.
    pub(super) fn body(&self) -> u64 {
        self.rows.body.iter().map(|count| u64::from(*count)).sum()
    }
}
