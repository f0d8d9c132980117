//! From Hounsfield units to what a network was trained on: axes, crop, intensities, spacing.
//!
//! In nnU-Net v2's order: transpose, crop to nonzero, normalise, resample. Remembers the way
//! back in [`Geometry`].

use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array3, Array4, ArrayView3, ArrayViewMut3, Axis, Slice, Zip};
use rayon::prelude::*;

use hepalert_bundles::{NetworkPlan, Resampling};
use hepalert_study::study::AlignedStudy;
use hepalert_voxels::image::fill::fill_holes;
use hepalert_voxels::image::normalise::{Normalisation, Pointwise, normalise_within};
use hepalert_voxels::image::resample::{
    new_shape, resize_cubic, resize_cubic_slices, resize_torch, should_separate_z,
};
use hepalert_voxels::volume::{Axes, Grid, Volume};

use super::{Plan, SegmentError, budget};

/// A study as its network takes it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Normalised, at the network's spacing: `[channel, z, y, x]` in the network's axes.
    pub voxels: Array4<f32>,
    /// The way back to the study.
    pub geometry: Geometry,
}

/// How the network's grid lies in the study's.
#[derive(Debug, Clone)]
pub struct Geometry {
    /// The study's own grid.
    pub grid: Arc<Grid>,
    /// The study axes as the network has them.
    pub axes: Axes,
    /// The nonzero box in network axes, in study voxels.
    pub crop: [Range<usize>; 3],
    /// Shape at the network's spacing.
    pub shape: [usize; 3],
    /// Study spacing in network axes.
    pub study_spacing_mm: [f64; 3],
    /// The network's spacing.
    pub network_spacing_mm: [f64; 3],
}

impl Geometry {
    /// Finds the crop and the new shape; allocates nothing.
    ///
    /// # Errors
    /// [`SegmentError::Channels`] and [`SegmentError::TooSmall`].
    pub(super) fn checked(
        study: &AlignedStudy,
        network: &NetworkPlan,
    ) -> Result<Geometry, SegmentError> {
        if study.phases().len() != network.channels {
            let (found, expected) = (study.phases().len(), network.channels);
            return Err(SegmentError::Channels { found, expected });
        }
        let geometry = Geometry::of(study, network);
        if geometry.shape.contains(&0) {
            return Err(SegmentError::TooSmall { shape: geometry.shape });
        }
        Ok(geometry)
    }

    fn of(study: &AlignedStudy, network: &NetworkPlan) -> Geometry {
        let grid = Arc::clone(study.grid());
        let turned = network.reader.orientation().map(|wanted| Axes::to(wanted, &grid));
        let read = turned.unwrap_or(Axes::STORED);
        let axes = read.permuted(network.transpose_forward);
        let bounds = nonzero_box(study);
        let crop = std::array::from_fn(|axis| {
            let (from, size) = (axes.from[axis], grid.shape()[axes.from[axis]]);
            let range = bounds[from].clone();
            if axes.reversed[axis] { size - range.end..size - range.start } else { range }
        });
        let study_spacing_mm = axes.from.map(|axis| grid.spacing_mm()[axis]);
        let cropped = crop.clone().map(|range: Range<usize>| range.len());
        let shape = new_shape(cropped, study_spacing_mm, network.spacing_mm);
        let network_spacing_mm = network.spacing_mm;
        Geometry { grid, axes, crop, shape, study_spacing_mm, network_spacing_mm }
    }

    /// Shape of the nonzero box, in network axes, in study voxels.
    pub fn cropped_shape(&self) -> [usize; 3] {
        self.crop.clone().map(|range| range.len())
    }

    /// A study array `[z, y, x]` seen in network axes, cut to the nonzero box.
    pub(super) fn cropped<'a, T>(&self, study: ArrayView3<'a, T>) -> ArrayView3<'a, T> {
        let mut view = study.permuted_axes(self.axes.from);
        for (axis, range) in self.crop.iter().enumerate() {
            if self.axes.reversed[axis] {
                view.invert_axis(Axis(axis));
            }
            view.slice_axis_inplace(Axis(axis), Slice::from(range.clone()));
        }
        view
    }

    /// [`Geometry::cropped`], to write.
    pub(super) fn cropped_mut<'a, T>(&self, study: ArrayViewMut3<'a, T>) -> ArrayViewMut3<'a, T> {
        let mut view = study.permuted_axes(self.axes.from);
        for (axis, range) in self.crop.iter().enumerate() {
            if self.axes.reversed[axis] {
                view.invert_axis(Axis(axis));
            }
            view.slice_axis_inplace(Axis(axis), Slice::from(range.clone()));
        }
        view
    }
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

/// The box `[z, y, x]`, in study axes, of the voxels that are not exactly 0 in some phase;
/// the whole volume if there are none (`crop_to_nonzero`). CT air is about -1000, so only
/// scans that were padded with zeros are cropped.
fn nonzero_box(study: &AlignedStudy) -> [Range<usize>; 3] {
    let boxes = study.phases().iter().filter_map(|(_, volume)| nonzero_box_of(volume));
    boxes.reduce(join).unwrap_or_else(|| study.grid().shape().map(|n| 0..n))
}

fn nonzero_box_of(volume: &Volume<f32>) -> Option<[Range<usize>; 3]> {
    let slices = volume.voxels().outer_iter().into_par_iter().enumerate();
    slices
        .filter_map(|(z, slice)| {
            let rows = slice.outer_iter().enumerate().filter_map(|(y, row)| {
                let first = row.iter().position(|&v| v != 0.0)?;
                let last = row.iter().rposition(|&v| v != 0.0)?;
                Some([z..z + 1, y..y + 1, first..last + 1])
            });
            rows.reduce(join)
        })
        .reduce_with(join)
}

fn join(a: [Range<usize>; 3], b: [Range<usize>; 3]) -> [Range<usize>; 3] {
    std::array::from_fn(|axis| a[axis].start.min(b[axis].start)..a[axis].end.max(b[axis].end))
}
