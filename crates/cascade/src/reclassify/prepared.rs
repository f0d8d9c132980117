//! The study as the second network sees it: normalised, on its grid, liver only.
//!
//! Owns [`Sampling`] (the network's grid and intensities) and [`Prepared`]. Made once per
//! study and label map; every patch is cut from it.

use std::sync::Arc;

use ndarray::{Array3, Array4, ArrayViewMut3, Zip, s};

use super::region::LiverRegion;
use hepalert_bundles::{NetworkPlan, Resampling};
use hepalert_study::study::AlignedStudy;
use hepalert_voxels::image::normalise::{Normalisation, normalise};
use hepalert_voxels::image::resample::{
    nearest_taps, new_shape, resize_cubic, resize_nearest, should_separate_z,
};
use hepalert_voxels::image::window::PlaneWindow;
use hepalert_voxels::volume::{Grid, LabelMap, MAX_VOXELS, Orientation};

/// Liver this far from lesions and from the edge of the region serves as cover for removed
/// lesions: nearer, masks that are a voxel or two off let in rims of other tissue.
const RIM_MM: f64 = 3.0;

/// The second network's grid and intensities, from its manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Voxel size of the patches, `[z, y, x]`.
    pub spacing_mm: [f64; 3],
    /// Patch size `[z, y, x]` in voxels.
    pub patch: [usize; 3],
    /// How each phase is normalised, in channel order.
    pub channels: Vec<Normalisation>,
    /// The orientation that study and labels are to be brought into; as they are stored if
    /// the engine does not say.
    pub orientation: Option<Orientation>,
}

impl Sampling {
    /// What a bundle says of its second network.
    ///
    /// # Errors
    /// [`PrepareError::Sampling`] if it wants what this stage does not do: turned axes,
    /// another resampling than nnU-Net's default, a mask value other than 0.
    pub fn of_plan(plan: &NetworkPlan) -> Result<Sampling, PrepareError> {
        let bad = |what: &str| Err(PrepareError::Sampling(what.to_owned()));
        if plan.transpose_forward != [0, 1, 2] {
            return bad("its axes are turned; pack it with transpose_forward [0, 1, 2]");
        }
        if plan.resampling != Resampling::Default {
            return bad("its resampling is not nnU-Net's default");
        }
        if plan.mask_value != 0.0 {
            return bad("its mask value is not 0");
        }
        Ok(Sampling {
            spacing_mm: plan.spacing_mm,
            patch: plan.patch,
            channels: plan.normalisation.clone(),
            orientation: plan.reader.orientation(),
        })
    }
}

/// Why a study cannot be prepared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PrepareError {
    /// The network takes another number of phases.
    #[error("the second network takes {wanted} phases, the study has {found}")]
    Phases {
        /// Channels of the network.
        wanted: usize,
        /// Phases of the study.
        found: usize,
    },
    /// The label map lies on another grid than the images.
    #[error("the label map does not lie on the grid of the images")]
    Grid,
    /// Spacing or patch size that no image can have.
    #[error("the second network's grid is unusable: {0}")]
    Sampling(String),
}

/// A study on the patch grid, masked to one liver region.
#[derive(Debug, Clone)]
pub struct Prepared {
    images: Array4<f32>,
    region: LiverRegion,
    nearest: [Vec<usize>; 3],
    grid: Arc<Grid>,
    patch: [usize; 3],
}

impl Prepared {
    /// Carries labels (nearest neighbour) and phases (normalised, then cubic, nnU-Net's
    /// order) to the patch grid and masks the phases to the liver region of `labels`.
    ///
    /// A caller that judges the lesions of several gains gives the label map of the
    /// highest, which holds all of them, and shares the result.
    ///
    /// # Errors
    /// [`PrepareError`] if study, labels and network do not belong together.
    pub fn new(
        study: &AlignedStudy,
        labels: &LabelMap,
        sampling: &Sampling,
    ) -> Result<Prepared, PrepareError> {
        let phases = study.phases();
        if phases.len() != sampling.channels.len() {
            let (wanted, found) = (sampling.channels.len(), phases.len());
            return Err(PrepareError::Phases { wanted, found });
        }
        if !study.grid().matches(labels.grid()) {
            return Err(PrepareError::Grid);
        }
        let grid = patch_grid(study.grid(), sampling)?;
        let mut coarse = Array3::zeros(grid.shape());
        resize_nearest(labels.voxels().view(), coarse.view_mut());
        let [_, sy, sx] = grid.spacing_mm();
        let rim = [sy, sx].map(|spacing| (RIM_MM / spacing).round().max(1.0) as usize);
        let region = LiverRegion::of(coarse.view(), rim);
        let [z, y, x] = grid.shape();
        let mut images = Array4::zeros([phases.len(), z, y, x]);
        let separate = should_separate_z(study.grid().spacing_mm(), sampling.spacing_mm);
        for ((mut image, (_, hounsfield)), &scheme) in
            images.outer_iter_mut().zip(phases).zip(&sampling.channels)
        {
            resample(hounsfield.voxels(), scheme, separate, &region, &mut image);
            Zip::from(&mut image)
                .and(region.truth())
                .par_for_each(|value, &truth| *value = if truth == 0 { 0.0 } else { *value });
        }
        let nearest = nearest_indices(study.grid().shape(), grid.shape());
        Ok(Prepared { images, region, nearest, grid: Arc::new(grid), patch: sampling.patch })
    }

    /// Normalised values `[phase, z, y, x]` on the patch grid; 0 outside the liver region.
    pub fn images(&self) -> &Array4<f32> {
        &self.images
    }

    /// The liver region, on the patch grid.
    pub fn region(&self) -> &LiverRegion {
        &self.region
    }

    /// Where the patch grid lies in patient space.
    pub fn grid(&self) -> &Arc<Grid> {
        &self.grid
    }

    /// Patch size `[z, y, x]` in voxels.
    pub fn patch_size(&self) -> [usize; 3] {
        self.patch
    }

    /// For every index of the patch grid, per axis, the study's index it takes labels from.
    pub fn nearest(&self) -> &[Vec<usize>; 3] {
        &self.nearest
    }
}

/// Normalises one phase and resizes it to the patch grid. With separate slices only the box
/// of the liver region is made; the rest stays as it is.
fn resample(
    hounsfield: &Array3<f32>,
    scheme: Normalisation,
    separate: Option<usize>,
    region: &LiverRegion,
    image: &mut ArrayViewMut3<'_, f32>,
) {
    let Some((lo, hi)) = region.bounds() else { return };
    let (from, to) = (hounsfield.dim(), image.dim());
    // These schemes look at the whole image; the others at one voxel at a time.
    let per_image = !matches!(scheme, Normalisation::Ct { .. } | Normalisation::None);
    if separate != Some(0) || per_image {
        let mut values = hounsfield.clone();
        normalise(&mut values, scheme);
        return resize_cubic(values.view(), image.view_mut(), separate);
    }
    let taps = nearest_taps(from.0, to.0);
    let slices: Vec<usize> = taps[lo[0]..hi[0]].iter().map(|tap| tap.lower).collect();
    let plane = [lo[1]..hi[1], lo[2]..hi[2]];
    let window = PlaneWindow::new([from.1, from.2], [to.1, to.2], plane);
    let mut values = window.cut(hounsfield.view(), &slices);
    normalise(&mut values, scheme);
    image.slice_mut(s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]]).assign(&window.resize(&values));
}

fn nearest_indices(from: [usize; 3], to: [usize; 3]) -> [Vec<usize>; 3] {
    std::array::from_fn(|axis| {
        nearest_taps(from[axis], to[axis]).iter().map(|tap| tap.lower).collect()
    })
}

/// The study's field of view in voxels of the network's size (rounded to whole voxels, so
/// the spacing is that of nnU-Net's resampled images, not exactly the nominal one).
fn patch_grid(study: &Grid, sampling: &Sampling) -> Result<Grid, PrepareError> {
    let bad = |what: String| Err(PrepareError::Sampling(what));
    if !sampling.spacing_mm.iter().all(|s| s.is_finite() && *s > 0.0) {
        return bad(format!("spacing {:?} mm", sampling.spacing_mm));
    }
    let voxels = |shape: [usize; 3]| {
        shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n)).unwrap_or(usize::MAX)
    };
    if voxels(sampling.patch) == 0 || voxels(sampling.patch) > MAX_VOXELS {
        return bad(format!("patch of {:?} voxels", sampling.patch));
    }
    let from = study.shape();
    let to = new_shape(from, study.spacing_mm(), sampling.spacing_mm).map(|n| n.max(1));
    if voxels(from) == 0 || voxels(to).saturating_mul(sampling.channels.len()) > MAX_VOXELS {
        return bad(format!("it would take {to:?} voxels to hold the study"));
    }
    let step: [f64; 3] = std::array::from_fn(|axis| from[axis] as f64 / to[axis] as f64);
    let first = study.ras_mm(step.map(|step| 0.5 * step - 0.5));
    let spacing_mm = std::array::from_fn(|axis| study.spacing_mm()[axis] * step[axis]);
    let affine: [[f64; 4]; 3] = std::array::from_fn(|row| {
        let [x, y, z, _] = study.affine()[row];
        [x * step[2], y * step[1], z * step[0], first[row]]
    });
    Ok(Grid::new(to, spacing_mm, affine))
}
