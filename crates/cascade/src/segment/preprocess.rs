//! From Hounsfield units to what a network was trained on: axes, crop, intensities, spacing.
//!
//! In nnU-Net v2's order: transpose, crop to nonzero, normalise, resample. [`Geometry`] is the way
//! back.

use ndarray::{Array3, Array4, ArrayView3, ArrayViewMut3, Axis, Zip};

use hepalert_bundles::Resampling;
use hepalert_study::study::AlignedStudy;
use hepalert_voxels::image::fill::fill_holes;
use hepalert_voxels::image::normalise::{Normalisation, Pointwise, normalise_within};
use hepalert_voxels::image::resample::{
    resize_cubic, resize_cubic_slices, resize_torch, should_separate_z,
};

use super::geometry::Geometry;
use super::{Plan, SegmentError, budget};

/// A study as its network takes it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Normalised, at the network's spacing: `[channel, z, y, x]` in the network's axes.
    pub voxels: Array4<f32>,
    /// The way back to the study.
    pub geometry: Geometry,
}

/// Brings a study to a network's axes, intensities and spacing.
///
/// # Errors
/// [`SegmentError::Channels`], [`SegmentError::TooSmall`], [`SegmentError::OverBudget`].
pub fn prepare(study: &AlignedStudy, plan: &Plan) -> Result<Prepared, SegmentError> {
    let network = &plan.network;
    let geometry = Geometry::checked(study, network)?;
    budget::check(&geometry, plan)?;
    let [z, y, x] = geometry.shape;
    let mut voxels = Array4::zeros((network.channels, z, y, x));
    let separate = should_separate_z(geometry.study_spacing_mm, network.spacing_mm);
    let wants_mask = network.normalisation.iter().any(|scheme| scheme.wants_mask());
    let mask = wants_mask.then(|| nonzero_mask(study, &geometry));
    for (channel, out) in voxels.outer_iter_mut().enumerate() {
        let (_, volume) = &study.phases()[channel];
        let image = geometry.cropped(volume.voxels().view());
        let scheme = network.normalisation[channel];
        match mask.as_ref().filter(|_| scheme.wants_mask()) {
            // A mask is looked up per voxel, so such an image is made whole first.
            Some(mask) => {
                let mut whole = image.as_standard_layout().into_owned();
                normalise_within(&mut whole, scheme, mask.view());
                resize(whole.view(), out, network.resampling, separate);
            }
            None => normalise_and_resize(image, out, scheme, (network.resampling, separate)),
        }
    }
    Ok(Prepared { voxels, geometry })
}

/// Without a copy of the image where that can be.
fn normalise_and_resize(
    image: ArrayView3<'_, f32>,
    mut out: ArrayViewMut3<'_, f32>,
    scheme: Normalisation,
    (resampling, separate): (Resampling, Option<usize>),
) {
    let scheme = Pointwise::of(scheme, image);
    let normalised = |v| scheme.map_or(v, |scheme| scheme.apply(v));
    if image.dim() == out.dim() {
        Zip::from(&mut out).and(image).par_for_each(|out, &v| *out = normalised(v));
    } else if (resampling, separate) == (Resampling::Default, Some(0)) {
        resize_cubic_slices(image.dim().into(), out, &|z, slice| {
            let source = image.index_axis(Axis(0), z);
            Zip::from(slice).and(source).for_each(|out, &v| *out = normalised(v));
        });
    } else {
        let mut whole = image.as_standard_layout().into_owned();
        whole.par_mapv_inplace(normalised);
        resize(whole.view(), out, resampling, separate);
    }
}

/// An image that is whole, by one of nnU-Net's two functions; neither touches one that has the
/// shape already.
fn resize(
    image: ArrayView3<'_, f32>,
    mut out: ArrayViewMut3<'_, f32>,
    resampling: Resampling,
    separate: Option<usize>,
) {
    match resampling {
        _ if image.dim() == out.dim() => out.assign(&image),
        Resampling::Default => resize_cubic(image, out, separate),
        Resampling::Torch => resize_torch(image, out, separate),
    }
}

/// The voxels of the crop that are not 0 in every phase, and those that they enclose
/// (`create_nonzero_mask`).
fn nonzero_mask(study: &AlignedStudy, geometry: &Geometry) -> Array3<bool> {
    let mut mask = Array3::from_elem(geometry.cropped_shape(), false);
    for (_, volume) in study.phases() {
        mask.zip_mut_with(&geometry.cropped(volume.voxels().view()), |on, &v| *on |= v != 0.0);
    }
    fill_holes(&mut mask);
    mask
}
