//! Half precision: `f32` numbers that an f16 could hold.
//!
//! Whole numbers and plain arithmetic only, without branches: compilers turn a loop over them
//! into vector code on every processor, and no processor meets a subnormal `f32`.

/// The least normal f16, 2^-14.
const LEAST_NORMAL: f32 = 1.0 / 16384.0;
/// Bits of an `f32` mantissa that an f16 does not have.
const SURPLUS: u32 = 0x1fff;

/// Rounds to the nearest f16, half to even. Values beyond 65504 keep eleven bits instead of
/// becoming infinite; infinity stays.
#[inline(always)]
pub fn round_to_f16(value: f32) -> f32 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(SURPLUS / 2 + (bits >> 13 & 1)) & !SURPLUS;
    // Adding one half leaves steps of 2^-24, which are those of the subnormal f16.
    let small = ((value.abs() + 0.5) - 0.5).copysign(value);
    if value.abs() < LEAST_NORMAL { small } else { f32::from_bits(nearest) }
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
        }
    }

    proptest! {
        #[test]
        fn equals_the_conversion(mantissa in -1.0_f32..1.0, exponent in -40_i32..15) {
            let value = mantissa * (exponent as f32).exp2();
            prop_assert_eq!(round_to_f16(value), half::f16::from_f32(value).to_f32());
        }

        #[test]
        fn equals_the_definition(mantissa in -1.0_f32..1.0, exponent in -26_i32..16) {
            let value = mantissa * (exponent as f32).exp2();
            prop_assert_eq!(round_to_f16(value), slow(value));
        }
    }
}
