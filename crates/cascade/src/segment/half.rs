//! Half precision: rounding to it, and its sixteen bits.
//!
//! Whole numbers and plain arithmetic only, without branches: compilers turn a loop over them
//! into vector code on every processor, and no processor meets a subnormal `f32`. Conversions of
//! the processor's own are a call for eight numbers each, which takes longer.

/// The least normal f16, 2^-14.
const LEAST_NORMAL: f32 = 1.0 / 16384.0;
/// Bits of an `f32` mantissa that an f16 does not have.
const SURPLUS: u32 = 0x1fff;
/// One half. Adding it leaves steps of 2^-24, which are those of the subnormal f16, in the last bits.
const HALF: f32 = 0.5;
const HALF_BITS: u32 = HALF.to_bits();
/// What an `f32` has more in its exponent than an f16, at the place of an f16.
const BIAS: u32 = (127 - 15) << 10;

/// Rounds to the nearest f16, half to even. Values beyond 65504 keep eleven bits instead of
/// becoming infinite; infinity stays.
#[inline(always)]
pub(super) fn round_to_f16(value: f32) -> f32 {
    let nearest = eleven_bits(value.to_bits()) & !SURPLUS;
    let small = ((value.abs() + HALF) - HALF).copysign(value);
    if value.abs() < LEAST_NORMAL { small } else { f32::from_bits(nearest) }
}

/// Bits of an `f32` rounded to an f16's eleven, half to even; what is below them is not cleared.
#[inline(always)]
fn eleven_bits(bits: u32) -> u32 {
    bits.wrapping_add(SURPLUS / 2 + (bits >> 13 & 1))
}

/// The number that an f16's bits say. Not for infinity and NaN.
#[inline(always)]
pub(super) fn f16_bits_to_f32(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    let normal = f32::from_bits((magnitude + BIAS) << 13);
    let small = f32::from_bits(HALF_BITS + magnitude) - HALF;
    let value = if magnitude < 0x400 { small } else { normal };
    f32::from_bits(value.to_bits() | u32::from(bits & 0x8000) << 16)
}

/// The bits of the nearest f16, half to even. Not for what would be infinite, and NaN.
#[inline(always)]
pub(super) fn f32_to_f16_bits(value: f32) -> u16 {
    let normal = (eleven_bits(value.abs().to_bits()) >> 13).wrapping_sub(BIAS);
    let small = (value.abs() + HALF).to_bits().wrapping_sub(HALF_BITS);
    let magnitude = if value.abs() < LEAST_NORMAL { small } else { normal };
    (magnitude | value.to_bits() >> 16 & 0x8000) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: the nearest multiple of the step at this magnitude.
    fn slow(value: f32) -> f32 {
        let exponent = f64::from(value.abs()).max(1.0 / 16384.0).log2().floor();
        let step = (exponent - 10.0).exp2();
        ((f64::from(value) / step).round_ties_even() * step) as f32
    }

    #[test]
    fn known_values() {
        let cases: [(f32, f32); 8] = [
            (10.0, 10.0),
            (1.0 + 1.0 / 2048.0, 1.0),
            (1.0 + 3.0 / 2048.0, 1.001_953_1),
            (-9.999, -10.0),
            (2.9e-8, 0.0),
            (-3.1e-8, -5.960_464_5e-8),
            (2047.9, 2048.0),
            (f32::INFINITY, f32::INFINITY),
        ];
        for (value, expected) in cases {
            assert_eq!(round_to_f16(value), expected, "{value}");
        }
    }

    #[test]
    fn every_f16_stays() {
        for bits in (0..0x7c00_u16).flat_map(|bits| [bits, bits | 0x8000]) {
            let value = half::f16::from_bits(bits).to_f32();
            assert_eq!(round_to_f16(value), value);
            assert_eq!(f16_bits_to_f32(bits).to_bits(), value.to_bits(), "{bits:04x}");
            assert_eq!(f32_to_f16_bits(value), bits);
        }
    }

    proptest! {
        #[test]
        fn equals_the_conversion(mantissa in -1.0_f32..1.0, exponent in -40_i32..15) {
            let value = mantissa * (exponent as f32).exp2();
            prop_assert_eq!(round_to_f16(value), half::f16::from_f32(value).to_f32());
            prop_assert_eq!(f32_to_f16_bits(value), half::f16::from_f32(value).to_bits());
        }

        #[test]
        fn equals_the_definition(mantissa in -1.0_f32..1.0, exponent in -26_i32..16) {
            let value = mantissa * (exponent as f32).exp2();
            prop_assert_eq!(round_to_f16(value), slow(value));
        }
    }
}
