//! What an engine was trained for: the images beyond which nobody has seen it work.
//!
//! Owns the limits as a manifest states them. Refuses nothing: a study outside is flagged by
//! whoever analyses it.

use serde::Deserialize;

use super::network::ensure;

/// Spacings that differ by less than this share are one: headers round.
const TOLERANCE: f64 = 0.02;

/// Lowest and highest values of the training images; what is not stated is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedFor {
    /// Between slices.
    pub slice_mm: Option<[f64; 2]>,
    /// Between pixels, along either side.
    pub pixel_mm: Option<[f64; 2]>,
    /// The longer side of a slice.
    pub field_of_view_mm: Option<[f64; 2]>,
}

/// What of a study an engine was not trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Untrained {
    /// The step between slices.
    SliceSpacing,
    /// The size of pixels.
    PixelSpacing,
    /// The size of slices.
    FieldOfView,
}

impl Untrained {
    /// The quality flag in reports.
    pub const fn flag(self) -> &'static str {
        match self {
            Untrained::SliceSpacing => "slice_spacing_not_trained",
            Untrained::PixelSpacing => "pixel_spacing_not_trained",
            Untrained::FieldOfView => "field_of_view_not_trained",
        }
    }
}

impl TrainedFor {
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, limits) in [
            ("slice_mm", self.slice_mm),
            ("pixel_mm", self.pixel_mm),
            ("field_of_view_mm", self.field_of_view_mm),
        ] {
            let sound = limits.is_none_or(|[low, high]| {
                low.is_finite() && high.is_finite() && low > 0.0 && high >= low
            });
            ensure(sound, || format!("trained_for.{name}: need 0 < lowest <= highest"))?;
        }
        Ok(())
    }

    /// What lies outside, of an image of this shape and spacing `[z, y, x]`, slices along z.
    pub fn untrained(&self, shape: [usize; 3], spacing_mm: [f64; 3]) -> Vec<Untrained> {
        let outside = |limits: Option<[f64; 2]>, value: f64| {
            limits.is_some_and(|[low, high]| {
                value < low * (1.0 - TOLERANCE) || value > high * (1.0 + TOLERANCE)
            })
        };
        let [slice, row, column] = spacing_mm;
        let side = (shape[1] as f64 * row).max(shape[2] as f64 * column);
        [
            (Untrained::SliceSpacing, outside(self.slice_mm, slice)),
            (
                Untrained::PixelSpacing,
                outside(self.pixel_mm, row) || outside(self.pixel_mm, column),
            ),
            (Untrained::FieldOfView, outside(self.field_of_view_mm, side)),
        ]
        .into_iter()
        .filter_map(|(what, is_outside)| is_outside.then_some(what))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_the_limits_is_named() {
        let limits = TrainedFor {
            slice_mm: Some([2.0, 5.0]),
            pixel_mm: Some([0.6, 1.0]),
            field_of_view_mm: Some([250.0, 500.0]),
        };
        let outside = |spacing_mm| limits.untrained([40, 512, 512], spacing_mm);
        assert_eq!(outside([5.0, 0.8, 0.8]), []);
        assert_eq!(outside([5.05, 0.8, 0.8]), [], "a header rounds");
        assert_eq!(outside([10.0, 0.8, 0.8]), [Untrained::SliceSpacing]);
        assert_eq!(outside([0.6, 0.8, 0.8]), [Untrained::SliceSpacing]);
        assert_eq!(outside([5.0, 1.2, 1.2]), [Untrained::PixelSpacing, Untrained::FieldOfView]);
        assert_eq!(TrainedFor::default().untrained([1, 1, 1], [99.0; 3]), []);
        assert!(limits.check().is_ok());
        let upside_down = TrainedFor { slice_mm: Some([5.0, 2.0]), ..limits };
        assert!(upside_down.check().is_err());
    }
}
