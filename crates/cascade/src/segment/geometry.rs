//! How a network's grid lies in a study's: axes, the box that is not padding, spacing. The way back
//! is read off it.

use std::ops::Range;
use std::sync::Arc;

use ndarray::{ArrayView3, ArrayViewMut3, Axis, Slice};
use rayon::prelude::*;

use hepalert_bundles::NetworkPlan;
use hepalert_study::study::AlignedStudy;
use hepalert_voxels::image::resample::new_shape;
use hepalert_voxels::volume::{Axes, Grid, Volume};

use super::SegmentError;

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
