//! Instance normalisation, gathered while a result is still warm and applied when it is read.
//!
//! Order of summation: each task sums its pixels' distances from a pivot (its first pixel) row by
//! row in `f32`, adds the rows in `f64`, and the tasks are joined in their order in `f64`. Tasks
//! are cut by shapes alone, so the bits do not depend on threads. Distances from a pivot keep
//! what squares of large values would cancel.

use fearless_simd::{f32x16, prelude::*};

use crate::element::{Chunk, LANES};

/// What one task saw of sixteen channels.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moments {
    count: f64,
    pivot: Chunk,
    sum: [f64; LANES],
    square: [f64; LANES],
}

/// Sums of one row, in registers.
#[derive(Clone, Copy)]
pub(crate) struct RowSums<S: Simd> {
    pivot: f32x16<S>,
    sum: f32x16<S>,
    square: f32x16<S>,
}

impl<S: Simd> RowSums<S> {
    /// Sums that nothing is added to.
    #[inline(always)]
    pub(crate) fn empty(simd: S) -> Self {
        let zero = f32x16::splat(simd, 0.0);
        RowSums { pivot: zero, sum: zero, square: zero }
    }

    /// Starts a row; `first` is the pivot if this is the task's first.
    #[inline(always)]
    pub(crate) fn begin(simd: S, moments: &mut Moments, first: f32x16<S>) -> Self {
        if moments.count == 0.0 {
            first.store_array(&mut moments.pivot);
        }
        let zero = f32x16::splat(simd, 0.0);
        RowSums { pivot: f32x16::load_array_ref(simd, &moments.pivot), sum: zero, square: zero }
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, value: f32x16<S>) {
        let distance = value - self.pivot;
        self.sum += distance;
        self.square = distance.mul_add(distance, self.square);
    }

    /// Ends a row of `count` pixels.
    #[inline(always)]
    pub(crate) fn end(self, moments: &mut Moments, count: usize) {
        let (mut sum, mut square) = ([0.0; LANES], [0.0; LANES]);
        self.sum.store_array(&mut sum);
        self.square.store_array(&mut square);
        for lane in 0..LANES {
            moments.sum[lane] += f64::from(sum[lane]);
            moments.square[lane] += f64::from(square[lane]);
        }
        moments.count += count as f64;
    }
}

/// What a normalisation multiplies by and adds, block by block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Norm {
    pub(crate) scale: Vec<Chunk>,
    pub(crate) shift: Vec<Chunk>,
}

impl Norm {
    pub(crate) fn new(blocks: usize) -> Norm {
        Norm { scale: vec![[0.0; LANES]; blocks], shift: vec![[0.0; LANES]; blocks] }
    }
}

/// The learnt part of a normalisation.
#[derive(Debug)]
pub(crate) struct Learnt {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) epsilon: f32,
}

/// Joins what the tasks saw: `moments` is `[task][block]`.
pub(crate) fn join_moments(learnt: &Learnt, moments: &[Moments], norm: &mut Norm) {
    let blocks = norm.scale.len();
    for channel in 0..learnt.scale.len() {
        let (block, lane) = (channel / LANES, channel % LANES);
        let (mut count, mut mean, mut squares) = (0.0_f64, 0.0_f64, 0.0_f64);
        for task in moments.iter().skip(block).step_by(blocks).filter(|task| task.count > 0.0) {
            let own = task.sum[lane] / task.count;
            let own_squares = (task.square[lane] - own * task.sum[lane]).max(0.0);
            let apart = f64::from(task.pivot[lane]) + own - mean;
            let whole = count + task.count;
            mean += apart * task.count / whole;
            squares += own_squares + apart * apart * count * task.count / whole;
            count = whole;
        }
        let deviation = (squares / count + f64::from(learnt.epsilon)).sqrt();
        let scale = f64::from(learnt.scale[channel]) / deviation;
        norm.scale[block][lane] = scale as f32;
        norm.shift[block][lane] = (f64::from(learnt.shift[channel]) - mean * scale) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mean a thousand deviations from zero, which plain sums of squares would lose.
    #[test]
    fn far_from_zero_the_deviation_is_still_found() {
        let values: Vec<f32> = (0..600).map(|i| 1000.0 + ((i * 37) % 100) as f32 * 0.01).collect();
        let level = crate::level::Level::widest();
        let mut moments = [Moments::default(); 3];
        crate::level::at_level!(level, simd => {
            for (task, values) in moments.iter_mut().zip(values.chunks(200)) {
                for row in values.chunks(50) {
                    let splat = |v: f32| f32x16::splat(simd, v);
                    let mut sums = RowSums::begin(simd, task, splat(row[0]));
                    row.iter().for_each(|&v| sums.add(splat(v)));
                    sums.end(task, row.len());
                }
            }
        });
        let learnt = Learnt { scale: vec![2.0], shift: vec![0.5], epsilon: 1e-5 };
        let mut norm = Norm::new(1);
        join_moments(&learnt, &moments, &mut norm);
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / 600.0;
        let squares = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / 600.0;
        let scale = 2.0 / (squares + 1e-5).sqrt();
        assert!((f64::from(norm.scale[0][0]) / scale - 1.0).abs() < 1e-5);
        assert!((f64::from(norm.shift[0][0]) / (0.5 - mean * scale) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_constant_gives_its_shift() {
        let mut moments = [Moments::default()];
        let level = crate::level::Level::widest();
        crate::level::at_level!(level, simd => {
            let mut sums = RowSums::begin(simd, &mut moments[0], f32x16::splat(simd, 7.1));
            (0..99).for_each(|_| sums.add(f32x16::splat(simd, 7.1)));
            sums.end(&mut moments[0], 99);
        });
        let learnt = Learnt { scale: vec![1.0], shift: vec![0.0], epsilon: 1e-5 };
        let mut norm = Norm::new(1);
        join_moments(&learnt, &moments, &mut norm);
        assert!((7.1 * norm.scale[0][0] + norm.shift[0][0]).abs() < 1e-3);
    }
}
