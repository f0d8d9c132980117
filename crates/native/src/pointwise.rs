//! What is done voxel by voxel: copies, sums, slices, means of boxes, and the way out.

use fearless_simd::{f32x16, prelude::*};

use crate::element::{Chunk, Element, LANES};
use crate::graph::Sum;
use crate::level::Width;
use crate::norm::RowSums;
use crate::volume::{Band, Blocks, Pending, Source, blocks};

/// What makes a value voxel by voxel.
#[derive(Debug, Clone)]
pub(crate) enum Pointwise {
    /// Everything of all inputs, joined, with what is still to be done to them.
    Copy,
    Combine(Sum),
    CombineNumber(Sum, f32),
    NumberMinus(f32),
    Floor,
    /// Slices, each of one input.
    Slices(Vec<(usize, usize)>),
    Average([usize; 3]),
}

impl Pointwise {
    /// Computes one band of a value of `channels` and rows of `width` voxels.
    #[inline(always)]
    pub(crate) fn band<S: Width, T: Element>(
        &self,
        simd: S,
        sources: &[Source<'_, T>],
        channels: usize,
        width: usize,
        band: Band<'_, T>,
    ) {
        let out_blocks = blocks(channels);
        for row in 0..band.rows {
            let [z, y] = [band.z, band.y + row];
            let out = &mut band.out[row * width * out_blocks..(row + 1) * width * out_blocks];
            for block in 0..out_blocks {
                simd.vectorize(
                    #[inline(always)]
                    || {
                        let mut tally = RowSums::empty(simd);
                        for (x, to) in out[block..].iter_mut().step_by(out_blocks).enumerate() {
                            let value = self.value(simd, sources, block, [z, y, x]);
                            if let Some(moments) = band.moments.get_mut(block) {
                                if x == 0 {
                                    tally = RowSums::begin(simd, moments, value);
                                }
                                tally.add(value);
                            }
                            T::put(value, to);
                        }
                        if let Some(moments) = band.moments.get_mut(block) {
                            tally.end(moments, width);
                        }
                    },
                );
            }
        }
    }

    #[inline(always)]
    fn value<S: Width, T: Element>(
        &self,
        simd: S,
        sources: &[Source<'_, T>],
        block: usize,
        [z, y, x]: [usize; 3],
    ) -> f32x16<S> {
        match self {
            Pointwise::Copy => joined(simd, sources, block, [z, y, x]),
            Pointwise::Combine(sum) => sum.of(
                get(simd, &sources[0], block, [z, y, x]),
                get(simd, &sources[1], block, [z, y, x]),
            ),
            Pointwise::CombineNumber(sum, right) => {
                sum.of(get(simd, &sources[0], block, [z, y, x]), f32x16::splat(simd, *right))
            }
            Pointwise::NumberMinus(left) => {
                f32x16::splat(simd, *left) - get(simd, &sources[0], block, [z, y, x])
            }
            Pointwise::Floor => get(simd, &sources[0], block, [z, y, x]).floor(),
            Pointwise::Slices(slices) => {
                let (source, z) = slices[z];
                get(simd, &sources[source], block, [z, y, x])
            }
            Pointwise::Average(size) => {
                let mut sum = f32x16::splat(simd, 0.0);
                for dz in 0..size[0] {
                    for dy in 0..size[1] {
                        for dx in 0..size[2] {
                            let at = [z * size[0] + dz, y * size[1] + dy, x * size[2] + dx];
                            sum += get(simd, &sources[0], block, at);
                        }
                    }
                }
                sum * f32x16::splat(simd, 1.0 / size.iter().product::<usize>() as f32)
            }
        }
    }
}

impl Sum {
    #[inline(always)]
    fn of<S: Simd>(self, a: f32x16<S>, b: f32x16<S>) -> f32x16<S> {
        match self {
            Sum::Add => a + b,
            Sum::Subtract => a - b,
            Sum::Multiply => a * b,
        }
    }
}

/// One chunk of a source; axes of size 1 are repeated.
#[inline(always)]
fn get<S: Simd, T: Element>(
    simd: S,
    source: &Source<'_, T>,
    block: usize,
    at: [usize; 3],
) -> f32x16<S> {
    match source {
        Source::Blocks(found) => found.get(simd, block, at),
        Source::Image { values, channels, size } => {
            let [z, y, x] = at;
            let (at, voxels) = ((z * size[1] + y) * size[2] + x, size.iter().product::<usize>());
            let lanes = (channels - block * LANES).min(LANES);
            let mut chunk: Chunk = [0.0; LANES];
            for (lane, value) in chunk[..lanes].iter_mut().enumerate() {
                *value = values[(block * LANES + lane) * voxels + at];
            }
            f32x16::load_array_ref(simd, &chunk)
        }
    }
}

impl<T: Element> Blocks<'_, T> {
    #[inline(always)]
    fn get<S: Simd>(&self, simd: S, block: usize, at: [usize; 3]) -> f32x16<S> {
        let mut within = at;
        for axis in 0..3 {
            within[axis] = at[axis].min(self.size[axis] - 1);
        }
        let [z, y, x] = within;
        let voxel = (z * self.size[1] + y) * self.size[2] + x;
        let chunk = &self.chunks[voxel * blocks(self.channels) + block];
        Pending::of(simd, self, block).apply(T::get(simd, chunk))
    }
}

/// Channels of all sources, one after the other, cut anew into blocks.
#[inline(always)]
fn joined<S: Simd, T: Element>(
    simd: S,
    sources: &[Source<'_, T>],
    block: usize,
    at: [usize; 3],
) -> f32x16<S> {
    if let [source] = sources {
        return get(simd, source, block, at);
    }
    let mut chunk: Chunk = [0.0; LANES];
    let mut before = 0;
    for source in sources {
        for own in 0..blocks(source.channels()) {
            let start = before + own * LANES;
            let lanes = (source.channels() - own * LANES).min(LANES);
            if start < (block + 1) * LANES && start + lanes > block * LANES {
                let mut found: Chunk = [0.0; LANES];
                get(simd, source, own, at).store_array(&mut found);
                for (lane, &value) in found[..lanes].iter().enumerate() {
                    if let Some(to) =
                        (start + lane).checked_sub(block * LANES).and_then(|at| chunk.get_mut(at))
                    {
                        *to = value;
                    }
                }
            }
        }
        before += source.channels();
    }
    f32x16::load_array_ref(simd, &chunk)
}
