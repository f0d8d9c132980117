//! Half precision: `f32` numbers that an f16 could hold, and f16 numbers in two bytes.
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

/// Exponent offset between the two formats, in units of an f16's least mantissa bit.
const BIAS: u32 = 112 << 10;
/// Bits of one half, on which the mantissas of subnormal f16 lie.
const ONE_HALF: u32 = 0x3f00_0000;

/// A finite f16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Half(u16);

impl Half {
    /// From here on numbers are too large to be kept.
    pub const OVERFLOW: f32 = 65520.0;

    /// The nearest f16, half to even, as [`round_to_f16`]. What becomes of NaN and of numbers
    /// from [`Half::OVERFLOW`] on means nothing: the caller must refuse them.
    #[inline(always)]
    pub fn of(value: f32) -> Half {
        let sign = value.to_bits() >> 16 & 0x8000;
        let bits = value.to_bits() & 0x7fff_ffff;
        let normal = ((bits + SURPLUS / 2 + (bits >> 13 & 1)) >> 13).wrapping_sub(BIAS);
        let small = (f32::from_bits(bits) + 0.5).to_bits().wrapping_sub(ONE_HALF);
        let is_small = f32::from_bits(bits) < LEAST_NORMAL;
        Half((sign | if is_small { small } else { normal }) as u16)
    }

    /// The same number as `f32`.
    #[inline(always)]
    pub fn value(self) -> f32 {
        let sign = u32::from(self.0 & 0x8000) << 16;
        let magnitude = u32::from(self.0 & 0x7fff);
        let normal = (magnitude + BIAS) << 13;
        let small = (f32::from_bits(magnitude | ONE_HALF) - 0.5).to_bits();
        f32::from_bits(sign | if magnitude < 0x400 { small } else { normal })
    }
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
    fn every_f16_comes_back() {
        for bits in (0..0x7c00_u16).flat_map(|bits| [bits, bits | 0x8000]) {
            let value = Half(bits).value();
            assert_eq!(Half::of(value), Half(bits), "{value}");
            assert_eq!(round_to_f16(value), value);
        }
        assert_eq!(Half(0x3c00).value(), 1.0);
        assert_eq!(Half(1).value(), 2.0_f32.powi(-24));
        assert_eq!(Half::of(Half::OVERFLOW - 0.01), Half(0x7bff));
    }

    proptest! {
        #[test]
        fn two_bytes_hold_what_rounding_leaves(mantissa in -1.0_f32..1.0, exponent in -40_i32..16) {
            let value = mantissa * (exponent as f32).exp2();
            let (stored, rounded) = (Half::of(value).value(), round_to_f16(value));
            prop_assert!(stored == rounded || value.abs() >= Half::OVERFLOW, "{stored} {rounded}");
        }

        #[test]
        fn equals_the_definition(mantissa in -1.0_f32..1.0, exponent in -26_i32..16) {
            let value = mantissa * (exponent as f32).exp2();
            prop_assert_eq!(round_to_f16(value), slow(value));
        }
    }
}
