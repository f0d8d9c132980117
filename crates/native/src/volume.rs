//! Values in memory: `[z, y, x]` voxels of blocks of sixteen channels, and how they are read.
//!
//! A value is read through what is still to be done to it: normalisation, then the leak. What
//! lies beyond the last channel of a block is zero or anything finite, and never multiplied.

use fearless_simd::{f32x16, prelude::*};

use crate::element::{Chunk, Element, LANES};
use crate::norm::{Moments, Norm};

pub(crate) fn blocks(channels: usize) -> usize {
    channels.div_ceil(LANES)
}

/// Something to read.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a, T> {
    Blocks(Blocks<'a, T>),
    /// The patch as it comes, `[channel, z, y, x]`.
    Image {
        values: &'a [f32],
        channels: usize,
        size: [usize; 3],
    },
}

/// A stored value and what is still to be done to it.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a, T> {
    pub(crate) chunks: &'a [[T; LANES]],
    pub(crate) channels: usize,
    pub(crate) size: [usize; 3],
    pub(crate) norm: Option<&'a Norm>,
    pub(crate) slope: f32,
}

impl<T> Source<'_, T> {
    pub(crate) const NOTHING: Self = Source::Image { values: &[], channels: 0, size: [0; 3] };

    pub(crate) fn channels(&self) -> usize {
        match self {
            Source::Blocks(found) => found.channels,
            Source::Image { channels, .. } => *channels,
        }
    }

    pub(crate) fn size(&self) -> [usize; 3] {
        match self {
            Source::Blocks(found) => found.size,
            Source::Image { size, .. } => *size,
        }
    }
}

/// What is to be done to sixteen channels.
#[derive(Clone, Copy)]
pub(crate) struct Pending<S: Simd> {
    scale: f32x16<S>,
    shift: f32x16<S>,
    slope: f32x16<S>,
    steep: bool,
}

impl<S: Simd> Pending<S> {
    #[inline(always)]
    pub(crate) fn of<T>(simd: S, from: &Blocks<'_, T>, block: usize) -> Pending<S> {
        let (scale, shift) = match from.norm {
            Some(norm) => (
                f32x16::load_array_ref(simd, &norm.scale[block]),
                f32x16::load_array_ref(simd, &norm.shift[block]),
            ),
            None => (f32x16::splat(simd, 1.0), f32x16::splat(simd, 0.0)),
        };
        let slope = f32x16::splat(simd, from.slope);
        Pending { scale, shift, slope, steep: from.slope > 1.0 }
    }

    /// The leak is the larger of `v` and `slope * v` while the slope is at most 1, else the
    /// smaller; either keeps a NaN.
    #[inline(always)]
    pub(crate) fn apply(&self, value: f32x16<S>) -> f32x16<S> {
        let value = value.mul_add(self.scale, self.shift);
        let leaked = value * self.slope;
        if self.steep { value.min(leaked) } else { value.max(leaked) }
    }
}

/// How a row is laid out for a convolution: `skip` zeros before, then every `stride`-th pixel
/// together, `length` pixels for each remainder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comb {
    pub(crate) skip: usize,
    pub(crate) stride: usize,
    pub(crate) length: usize,
}

impl Comb {
    /// Where pixel `at` of a row lies, zeros before it counted.
    pub(crate) fn place(&self, at: usize) -> usize {
        at % self.stride * self.length + at / self.stride
    }

    pub(crate) fn pixels(&self) -> usize {
        self.stride * self.length
    }
}

/// Packs one block of row `[z, y]` by `put`; what is outside the volume is zero.
#[inline(always)]
pub(crate) fn pack_row<S: Simd, T: Element, P: Copy + Default>(
    simd: S,
    source: &Source<'_, T>,
    block: usize,
    [z, y]: [isize; 2],
    comb: Comb,
    to: &mut [P],
    put: impl Fn(f32x16<S>, &mut P),
) {
    let [depth, height, width] = source.size();
    let (Ok(z), Ok(y)) = (usize::try_from(z), usize::try_from(y)) else {
        return to.fill(P::default());
    };
    if z >= depth || y >= height {
        return to.fill(P::default());
    }
    let row = z * height + y;
    for (rest, to) in to.chunks_exact_mut(comb.length).enumerate() {
        let first = comb.skip.saturating_sub(rest).div_ceil(comb.stride);
        let end = (width + comb.skip).saturating_sub(rest).div_ceil(comb.stride);
        let end = end.min(comb.length);
        let first = first.min(end);
        to[..first].fill(P::default());
        to[end..].fill(P::default());
        let from = first * comb.stride + rest - comb.skip.min(first * comb.stride + rest);
        let to = &mut to[first..end];
        match source {
            Source::Blocks(found) => {
                let blocks = blocks(found.channels);
                let row = &found.chunks[row * width * blocks..(row + 1) * width * blocks];
                let pending = Pending::of(simd, found, block);
                let every = row[(from * blocks + block).min(row.len())..].iter();
                for (to, from) in to.iter_mut().zip(every.step_by(blocks * comb.stride)) {
                    put(pending.apply(T::get(simd, from)), to);
                }
            }
            Source::Image { values, channels, .. } => {
                let plane = depth * height * width;
                let lanes = (channels - block * LANES).min(LANES);
                for (pixel, to) in to.iter_mut().enumerate() {
                    let at = row * width + from + pixel * comb.stride;
                    let mut chunk: Chunk = [0.0; LANES];
                    for (lane, value) in chunk[..lanes].iter_mut().enumerate() {
                        *value = values[(block * LANES + lane) * plane + at];
                    }
                    put(f32x16::load_array_ref(simd, &chunk), to);
                }
            }
        }
    }
}

/// Some rows of one slice of a result, which one task writes.
pub(crate) struct Band<'a, T> {
    pub(crate) z: usize,
    pub(crate) y: usize,
    pub(crate) rows: usize,
    pub(crate) out: &'a mut [[T; LANES]],
    /// One per block; none if nothing is normalised after.
    pub(crate) moments: &'a mut [Moments],
}

/// Cuts a result into bands of `rows`; `moments` is empty or has one per band and block.
pub(crate) fn bands<'a, T: Send>(
    out: &'a mut [[T; LANES]],
    moments: &'a mut [Moments],
    [_, height, width]: [usize; 3],
    blocks: usize,
    rows: usize,
) -> impl Iterator<Item = Band<'a, T>> + Send {
    let row = width * blocks;
    let mut moments = moments.chunks_mut(blocks);
    out.chunks_mut(height * row)
        .enumerate()
        .flat_map(move |(z, slice)| {
            (slice.chunks_mut(rows * row)).enumerate().map(move |(band, out)| (z, band * rows, out))
        })
        .map(move |(z, y, out)| Band {
            z,
            y,
            rows: out.len() / row,
            out,
            moments: moments.next().unwrap_or_default(),
        })
}

/// Bands that [`bands`] makes.
pub(crate) fn count_bands([depth, height, _]: [usize; 3], rows: usize) -> usize {
    depth * height.div_ceil(rows)
}
