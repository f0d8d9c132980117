//! How numbers are kept between two operations: `f32`, or bf16 as the upper half of one.
//!
//! Refuses arithmetic: everything is computed in `f32`.

use fearless_simd::{f32x16, prelude::*};

/// Channels that lie side by side in memory.
pub(crate) const LANES: usize = 16;

/// Sixteen channels of one voxel.
pub(crate) type Chunk = [f32; LANES];

/// A number as it is stored.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    /// Reads sixteen.
    fn get<S: Simd>(simd: S, from: &[Self; LANES]) -> f32x16<S>;
    /// Rounds sixteen to the nearest, ties to even.
    fn put<S: Simd>(values: f32x16<S>, to: &mut [Self; LANES]);
}

impl Element for f32 {
    #[inline(always)]
    fn get<S: Simd>(simd: S, from: &[f32; LANES]) -> f32x16<S> {
        f32x16::load_array_ref(simd, from)
    }

    #[inline(always)]
    fn put<S: Simd>(values: f32x16<S>, to: &mut [f32; LANES]) {
        values.store_array(to);
    }
}

/// A bf16, as its bits.
impl Element for u16 {
    #[inline(always)]
    fn get<S: Simd>(simd: S, from: &[u16; LANES]) -> f32x16<S> {
        let mut whole = [0.0; LANES];
        for lane in 0..LANES {
            whole[lane] = f32::from_bits(u32::from(from[lane]) << 16);
        }
        f32x16::load_array(simd, whole)
    }

    #[inline(always)]
    fn put<S: Simd>(values: f32x16<S>, to: &mut [u16; LANES]) {
        let mut whole = [0.0; LANES];
        values.store_array(&mut whole);
        for lane in 0..LANES {
            to[lane] = bf16(whole[lane]);
        }
    }
}

/// The nearest bf16, ties to even. A NaN whose mantissa is all ones would overflow, and no
/// arithmetic makes one.
#[inline(always)]
pub(crate) fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    (rounded >> 16) as u16
}
