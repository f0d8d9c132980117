//! The way out: from blocks of channels to `[channel, z, y, x]`.
//!
//! The last convolution of a network (one voxel, stride 1) is computed here, row by row, so that
//! its result is written once. Anything else is copied.

use crate::direct::block_sizes;
use crate::element::{Chunk, Element, LANES};
use crate::graph::Filter;
use crate::level::{Level, Width, at_level};
use crate::micro::{Product, Single, Step, at_width, next_pixels};
use crate::stages::Worker;
use crate::volume::{Comb, Source, blocks, pack_row};
use crate::workers::spread;

/// What is done on the way.
#[derive(Debug)]
pub(crate) enum Answer {
    Copy,
    Convolve(Head),
}

/// A convolution of single voxels.
#[derive(Debug)]
pub(crate) struct Head {
    steps: Vec<Step>,
    /// For each block of outputs.
    weights: Vec<Vec<Chunk>>,
    bias: Vec<Chunk>,
}

/// Whether a convolution can be the last.
pub(crate) fn fits(filter: &Filter) -> bool {
    filter.kernel == [1; 3] && filter.stride == [1; 3]
}

impl Head {
    /// For a value of one part and rows of `width`.
    pub(crate) fn new(filter: &Filter, width: usize) -> Head {
        let steps = block_sizes(filter.inputs).enumerate();
        let chunk = |block: usize, of: &dyn Fn(usize) -> f32| -> Chunk {
            std::array::from_fn(|lane| match block * LANES + lane {
                output if output < filter.outputs => of(output),
                _ => 0.0,
            })
        };
        let weights = |block: usize| {
            let weigh = |input: usize| chunk(block, &|output| filter.at(output, input, [0; 3]));
            (0..filter.inputs).map(weigh).collect()
        };
        Head {
            steps: steps.map(|(block, channels)| Step { at: block * width, channels }).collect(),
            weights: (0..blocks(filter.outputs)).map(weights).collect(),
            bias: (0..blocks(filter.outputs))
                .map(|block| chunk(block, &|output| filter.bias[output]))
                .collect(),
        }
    }

    /// One row of one block of outputs into `made`.
    #[inline(always)]
    fn row<S: Width>(&self, simd: S, block: usize, packed: &[Chunk], made: &mut [Chunk]) {
        let mut done = 0;
        while done < made.len() {
            let (start, width, _) = next_pixels(made.len(), done, S::PIXELS);
            at_width!(S, 1, width, PIXELS => {
                simd.vectorize(#[inline(always)] || {
                    let weights = &self.weights[block];
                    let sums =
                        Single::sums::<S, PIXELS, 1>(simd, &self.steps, weights, &packed[start..]);
                    let bias = f32::get(simd, &self.bias[block]);
                    for (sum, to) in sums.iter().zip(&mut made[start..start + PIXELS]) {
                        f32::put(sum[0] + bias, to);
                    }
                });
            });
            done = start + width;
        }
    }
}

impl Answer {
    /// Chunks that a worker needs for rows of `width` of so many channels.
    pub(crate) fn room(channels: usize, width: usize) -> usize {
        (blocks(channels) + 1) * width
    }

    /// Writes all of `answer`, whose slices have `plane` voxels.
    pub(crate) fn write<T: Element>(
        &self,
        level: Level,
        source: &Source<'_, T>,
        answer: &mut [f32],
        workers: &mut [Worker],
    ) {
        let [depth, height, width] = source.size();
        let plane = height * width;
        let tasks = answer.chunks_mut(LANES * depth * plane).enumerate().flat_map(|(at, block)| {
            let mut channels = block.chunks_exact_mut(depth * plane);
            let mut slices: [_; LANES] = std::array::from_fn(|_| {
                channels.next().unwrap_or_default().chunks_exact_mut(plane)
            });
            (0..depth).map(move |z| {
                let planes: [&mut [f32]; LANES] =
                    std::array::from_fn(|lane| slices[lane].next().unwrap_or_default());
                (at, z, planes)
            })
        });
        spread(workers, tasks, |worker, (block, z, mut planes)| {
            at_level!(level, simd => {
                self.slice(simd, source, [block, z], &mut planes, &mut worker.chunks);
            });
        });
    }

    #[inline(always)]
    fn slice<S: Width, T: Element>(
        &self,
        simd: S,
        source: &Source<'_, T>,
        [block, z]: [usize; 2],
        planes: &mut [&mut [f32]; LANES],
        room: &mut [Chunk],
    ) {
        let [_, height, width] = source.size();
        let comb = Comb { skip: 0, stride: 1, length: width };
        let (made, packed) = room.split_at_mut(width);
        for y in 0..height {
            let at = [z, y].map(usize::cast_signed);
            match self {
                Answer::Copy => simd.vectorize(
                    #[inline(always)]
                    || {
                        pack_row(simd, source, block, at, comb, made, Single::pack);
                    },
                ),
                Answer::Convolve(head) => {
                    for (own, to) in
                        packed.chunks_exact_mut(width).enumerate().take(head.steps.len())
                    {
                        simd.vectorize(
                            #[inline(always)]
                            || {
                                pack_row(simd, source, own, at, comb, to, Single::pack);
                            },
                        );
                    }
                    head.row(simd, block, packed, made);
                }
            }
            for (lane, plane) in
                planes.iter_mut().enumerate().filter(|(_, plane)| !plane.is_empty())
            {
                for (to, from) in plane[y * width..(y + 1) * width].iter_mut().zip(made.iter()) {
                    *to = from[lane];
                }
            }
        }
    }
}
