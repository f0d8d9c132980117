//! On which side of the patient the liver lies.
//!
//! Owns one question. A liver on the left means a mirrored image, a header that is wrong about
//! the patient's position, or situs inversus: in each case a person must know.

use ndarray::Axis;
use rayon::prelude::*;

use hepalert_study::anatomy::{Organ, is_of_liver};
use hepalert_voxels::volume::{LabelMap, Volume};

/// A spleen smaller than this, in cm3, is as likely a mistake of the network.
const LEAST_SPLEEN_CM3: f64 = 30.0;

/// A liver whose centre lies this far to the left of the body's is on the wrong side: a large
/// left lobe brings it near the middle, and no further.
const BEYOND_MIDDLE_MM: f64 = 10.0;

/// Above this, in HU, is body rather than air.
const BODY_HU: f32 = -300.0;

/// Sum and number of the places of voxels.
#[derive(Clone, Copy, Default)]
struct Centre {
    sum: [f64; 3],
    count: f64,
}

impl Centre {
    fn add(&mut self, at: [usize; 3]) {
        for (sum, index) in self.sum.iter_mut().zip(at) {
            *sum += index as f64;
        }
        self.count += 1.0;
    }

    fn join(self, other: Centre) -> Centre {
        let sum = std::array::from_fn(|axis| self.sum[axis] + other.sum[axis]);
        Centre { sum, count: self.count + other.count }
    }
}

/// True when the liver lies on the wrong side of the spleen or of the body's middle. Both are
/// on one grid.
pub fn liver_side_unusual(labels: &LabelMap, image: &Volume<f32>) -> bool {
    let slices: Vec<[Centre; 3]> = labels
        .voxels()
        .axis_iter(Axis(0))
        .into_par_iter()
        .zip(image.voxels().axis_iter(Axis(0)).into_par_iter())
        .enumerate()
        .map(|(z, (labels, image))| {
            let [mut liver, mut spleen, mut body] = [Centre::default(); 3];
            for (((y, x), &label), &hounsfield) in labels.indexed_iter().zip(image) {
                match label {
                    label if is_of_liver(label) => liver.add([z, y, x]),
                    label if label == Organ::Spleen.label() => spleen.add([z, y, x]),
                    _ => {}
                }
                if hounsfield > BODY_HU {
                    body.add([z, y, x]);
                }
            }
            // The middle is that of the slices with liver: arms and hips lie elsewhere.
            if liver.count == 0.0 {
                body = Centre::default();
            }
            [liver, spleen, body]
        })
        .collect();
    // In the order of slices, so that sums do not depend on threads.
    let [liver, spleen, body] = slices.into_iter().fold([Centre::default(); 3], |sums, slice| {
        std::array::from_fn(|organ| sums[organ].join(slice[organ]))
    });
    let grid = labels.grid();
    let right_mm = |centre: Centre| grid.ras_mm(centre.sum.map(|sum| sum / centre.count))[0];
    if liver.count == 0.0 {
        return false;
    }
    let spleen_tells = spleen.count * grid.voxel_cm3() >= LEAST_SPLEEN_CM3;
    (spleen_tells && right_mm(liver) < right_mm(spleen))
        || (body.count > 0.0 && right_mm(liver) < right_mm(body) - BEYOND_MIDDLE_MM)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hepalert_voxels::volume::Grid;
    use ndarray::{Array3, s};

    use super::*;

    /// Liver and perhaps spleen in a body of 200 mm; x runs to the left unless mirrored.
    fn is_unusual(spleen: bool, mirrored: bool) -> bool {
        let side = if mirrored { 1.0 } else { -1.0 };
        let affine = [[side * 5.0, 0.0, 0.0, 40.0], [0.0, -5.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]];
        let grid = Arc::new(Grid::new([20, 30, 44], [5.0; 3], affine));
        let mut image = Array3::from_elem([20, 30, 44], -1000.0);
        image.slice_mut(s![.., 2..28, 2..42]).fill(40.0);
        let mut labels = Array3::zeros([20, 30, 44]);
        labels.slice_mut(s![4..16, 6..20, 6..22]).fill(Organ::Liver.label());
        if spleen {
            labels.slice_mut(s![4..16, 10..20, 34..40]).fill(Organ::Spleen.label());
        }
        liver_side_unusual(&Volume::new(Arc::clone(&grid), labels), &Volume::new(grid, image))
    }

    #[test]
    fn a_liver_on_the_left_is_unusual_with_or_without_a_spleen() {
        assert!(!is_unusual(true, false) && !is_unusual(false, false));
        assert!(is_unusual(true, true) && is_unusual(false, true));
        let grid = Arc::new(Grid::axial([1, 1, 1], [1.0; 3], [0.0; 3]));
        let nothing = Volume::new(Arc::clone(&grid), Array3::zeros([1, 1, 1]));
        let air = Volume::new(grid, Array3::from_elem([1, 1, 1], -1000.0));
        assert!(!liver_side_unusual(&nothing, &air), "no liver, no side");
    }
}
