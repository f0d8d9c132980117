//! The innermost loop: products of a few pixels and one or two blocks of output channels.
//!
//! Owns the order of summation: one sum per output, started at zero, its products added one by
//! one in the order of the steps and of the channels in each (fused, where the level has fused
//! multiply-add). Knows nothing of kernels or volumes: a step says where the pixels of its
//! products begin.

use std::fmt;

use fearless_simd::{f32x16, prelude::*};

use crate::element::{Chunk, LANES};
use crate::level::Width;

/// Products with one block of input channels at one tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where its first pixel lies, counted in pixels from where the output's pixels begin.
    pub(crate) at: usize,
    /// Channels in the block.
    pub(crate) channels: usize,
}

/// The numbers that are multiplied.
pub(crate) trait Product: Copy + Send + Sync + 'static {
    /// Sixteen input channels of one pixel.
    type Pixel: Copy + Default + Send + Sync + fmt::Debug;
    /// One or two input channels' weights for sixteen output channels.
    type Weight: Copy + Send + Sync + fmt::Debug;

    /// Packs sixteen channels.
    fn pack<S: Simd>(values: f32x16<S>, to: &mut Self::Pixel);

    /// Rows of weights that a step takes.
    fn rows(step: Step) -> usize;

    /// Sums of `P` pixels, `input` beginning at the first.
    fn sums<S: Width, const P: usize, const O: usize>(
        simd: S,
        steps: &[Step],
        weights: &[Self::Weight],
        input: &[Self::Pixel],
    ) -> [[f32x16<S>; O]; P];
}

/// Products of `f32`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Single;

impl Product for Single {
    type Pixel = Chunk;
    type Weight = Chunk;

    #[inline(always)]
    fn pack<S: Simd>(values: f32x16<S>, to: &mut Chunk) {
        values.store_array(to);
    }

    #[inline(always)]
    fn rows(step: Step) -> usize {
        step.channels
    }

    #[inline(always)]
    fn sums<S: Width, const P: usize, const O: usize>(
        simd: S,
        steps: &[Step],
        weights: &[Chunk],
        input: &[Chunk],
    ) -> [[f32x16<S>; O]; P] {
        let mut sums = [[f32x16::splat(simd, 0.0); O]; P];
        let mut weights = weights.as_chunks::<O>().0;
        for step in steps {
            let Some(pixels) = input[step.at..].first_chunk::<P>() else {
                unreachable!("steps stay within the packed input")
            };
            let (now, rest) = weights.split_at(step.channels);
            weights = rest;
            for (channel, row) in now.iter().enumerate() {
                let mut weights = [f32x16::splat(simd, 0.0); O];
                for o in 0..O {
                    weights[o] = f32x16::load_array_ref(simd, &row[o]);
                }
                for p in 0..P {
                    let value = f32x16::splat(simd, pixels[p][channel % LANES]);
                    for o in 0..O {
                        sums[p][o] = weights[o].mul_add(value, sums[p][o]);
                    }
                }
            }
        }
        sums
    }
}

/// Turns weights of one tap and some blocks into the rows that [`Product::sums`] reads.
pub(crate) trait Weigh: Product {
    /// `weight(channel, output)` gives zeros past the ends.
    fn weigh(
        channels: usize,
        outputs: usize,
        weight: impl Fn(usize, usize) -> f32,
        into: &mut Vec<Self::Weight>,
    );
}

impl Weigh for Single {
    fn weigh(
        channels: usize,
        outputs: usize,
        weight: impl Fn(usize, usize) -> f32,
        into: &mut Vec<Chunk>,
    ) {
        for channel in 0..channels {
            for block in 0..outputs {
                into.push(std::array::from_fn(|lane| weight(channel, block * LANES + lane)));
            }
        }
    }
}

/// Widths of which loops are made; each level uses those that it has registers for.
const WIDTHS: [usize; 6] = [16, 8, 6, 4, 2, 1];

/// The next pixels of a row of `count`: where they begin, how many they are, and how many of
/// them are known already.
///
/// A rest that no loop fits is computed together with some pixels before it: the same sums give
/// the same bits.
#[inline(always)]
pub(crate) fn next_pixels(count: usize, done: usize, most: usize) -> (usize, usize, usize) {
    let left = count - done;
    let within = WIDTHS.into_iter().filter(|&width| width <= most && width <= count);
    let above = within.clone().rfind(|&width| width >= left);
    let Some(width) = above.or_else(|| within.clone().next()) else {
        unreachable!("one pixel always fits")
    };
    let start = done.min(count - width);
    (start, width, done - start)
}

/// Calls `$call` with the constant that equals `$width`.
macro_rules! at_width {
    ($simd:ident, $blocks:expr, $width:expr, $p:ident => $call:expr) => {
        match $width {
            16 if $simd::PIXELS / $blocks >= 16 => {
                const $p: usize = 16;
                $call
            }
            8 if $simd::PIXELS / $blocks >= 8 => {
                const $p: usize = 8;
                $call
            }
            6 if $simd::PIXELS / $blocks >= 6 => {
                const $p: usize = 6;
                $call
            }
            4 if $simd::PIXELS / $blocks >= 4 => {
                const $p: usize = 4;
                $call
            }
            2 => {
                const $p: usize = 2;
                $call
            }
            1 => {
                const $p: usize = 1;
                $call
            }
            _ => unreachable!("widths come from next_pixels"),
        }
    };
}
pub(crate) use at_width;
