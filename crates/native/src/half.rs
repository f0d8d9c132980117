//! Products of bf16 with sums in `f32`, by the processor's own instruction.
//!
//! The only file of this crate with `unsafe` in it: the instruction belongs to no level that
//! `fearless_simd` knows, so its function is entered here, and sixteen numbers are read and
//! written through pointers. Each place says why it is sound.
//!
//! Order of summation: as in [`crate::micro`], but two channels at a time, which the instruction
//! adds in its own order and without denormal numbers.

#![allow(unsafe_code)]

use fearless_simd::{f32x16, prelude::*};

use crate::direct::Direct;
use crate::element::{Chunk, Element, LANES, bf16};
#[cfg(target_arch = "x86_64")]
use crate::level::Kind;
use crate::level::{Level, Width};
use crate::micro::{Product, Step, Weigh};
use crate::volume::{Band, Source};

/// Products of bf16.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Half;

/// Two channels in one word, the even one below.
pub(crate) type Pairs = [u32; LANES / 2];

fn pair(even: f32, odd: f32) -> u32 {
    u32::from(bf16(even)) | u32::from(bf16(odd)) << 16
}

impl Product for Half {
    type Pixel = Pairs;
    /// Two channels' weights for sixteen outputs.
    type Weight = [u32; LANES];

    #[inline(always)]
    fn pack<S: Simd>(values: f32x16<S>, to: &mut Pairs) {
        let mut whole: Chunk = [0.0; LANES];
        values.store_array(&mut whole);
        let mut halves = [0; LANES];
        for lane in 0..LANES {
            halves[lane] = bf16(whole[lane]);
        }
        for two in 0..LANES / 2 {
            to[two] = u32::from(halves[2 * two]) | u32::from(halves[2 * two + 1]) << 16;
        }
    }

    #[inline(always)]
    fn rows(step: Step) -> usize {
        step.channels.div_ceil(2)
    }

    #[inline(always)]
    fn sums<S: Width, const P: usize, const O: usize>(
        simd: S,
        steps: &[Step],
        weights: &[[u32; LANES]],
        input: &[Pairs],
    ) -> [[f32x16<S>; O]; P] {
        let mut made = [[[0.0; LANES]; O]; P];
        sums::<P, O>(steps, weights, input, &mut made);
        let mut sums = [[f32x16::splat(simd, 0.0); O]; P];
        for p in 0..P {
            for o in 0..O {
                sums[p][o] = f32x16::load_array_ref(simd, &made[p][o]);
            }
        }
        sums
    }
}

impl Weigh for Half {
    fn weigh(
        channels: usize,
        outputs: usize,
        weight: impl Fn(usize, usize) -> f32,
        into: &mut Vec<[u32; LANES]>,
    ) {
        for even in (0..channels).step_by(2) {
            for block in 0..outputs {
                into.push(std::array::from_fn(|lane| {
                    let output = block * LANES + lane;
                    pair(weight(even, output), weight(even + 1, output))
                }));
            }
        }
    }
}

impl Level {
    /// Computes one band in bf16.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn run_half<T: Element>(
        self,
        direct: &Direct<Half>,
        sources: &[Source<'_, T>],
        band: Band<'_, T>,
        packed: &mut [Pairs],
    ) {
        match self.0 {
            Kind::Avx512(simd) => direct.band(simd, sources, band, packed),
            _ => unreachable!("a network in bf16 is loaded only for a level that has it"),
        }
    }

    /// No level of this processor has bf16.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn run_half<T: Element>(
        self,
        _: &Direct<Half>,
        _: &[Source<'_, T>],
        _: Band<'_, T>,
        _: &mut [Pairs],
    ) {
        unreachable!("a network in bf16 is loaded only for a level that has it");
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn sums<const P: usize, const O: usize>(
    steps: &[Step],
    weights: &[[u32; LANES]],
    input: &[Pairs],
    made: &mut [[Chunk; O]; P],
) {
    // SAFETY: a network in bf16 is loaded only where `Level::has_bf16` found AVX-512 and
    // AVX512-BF16 on this processor, which is all that the function needs.
    unsafe { x86::sums::<P, O>(steps, weights, input, made) }
}

#[cfg(not(target_arch = "x86_64"))]
fn sums<const P: usize, const O: usize>(
    _: &[Step],
    _: &[[u32; LANES]],
    _: &[Pairs],
    _: &mut [[Chunk; O]; P],
) {
    unreachable!("no level of this processor has bf16");
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32,
        _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::{Chunk, LANES, Pairs, Step};

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn sums<const P: usize, const O: usize>(
        steps: &[Step],
        weights: &[[u32; LANES]],
        input: &[Pairs],
        made: &mut [[Chunk; O]; P],
    ) {
        let mut sums = [[_mm512_setzero_ps(); O]; P];
        let mut weights = weights.as_chunks::<O>().0;
        for step in steps {
            let Some(pixels) = input[step.at..].first_chunk::<P>() else {
                unreachable!("steps stay within the packed input")
            };
            let (now, rest) = weights.split_at(step.channels.div_ceil(2));
            weights = rest;
            for (two, row) in now.iter().enumerate() {
                let mut products = [halves(_mm512_set1_epi32(0)); O];
                for o in 0..O {
                    products[o] = load(&row[o]);
                }
                for p in 0..P {
                    let word = pixels[p][two % (LANES / 2)].cast_signed();
                    let value = halves(_mm512_set1_epi32(word));
                    for o in 0..O {
                        sums[p][o] = _mm512_dpbf16_ps(sums[p][o], products[o], value);
                    }
                }
            }
        }
        for p in 0..P {
            for o in 0..O {
                store(sums[p][o], &mut made[p][o]);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn load(from: &[u32; LANES]) -> __m512bh {
        // SAFETY: sixteen words are the 64 bytes that are read; no alignment is asked for.
        halves(unsafe { _mm512_loadu_si512(from.as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(sums: __m512, to: &mut Chunk) {
        // SAFETY: sixteen numbers are the 64 bytes that are written; no alignment is asked for.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), sums) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn halves(bits: __m512i) -> __m512bh {
        // SAFETY: both are 512 bits without a value that is not allowed.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
    }
}
