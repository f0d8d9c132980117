//! Slices to a volume, one at a time: what is held is the volume and the slices in hand.

use ndarray::{Array3, Axis};
use rayon::prelude::*;

use super::{GeometryError, SeriesPlan, Slice, SliceHeader, plan};
use crate::volume::Volume;

impl SeriesPlan {
    /// Reads every slice and puts it in its place, as many at once as there are threads.
    /// `read` is given the index of a header of [`plan`] and answers with that slice.
    ///
    /// # Errors
    /// The error of the lowest slice that fails, whatever the order of the threads;
    /// [`GeometryError::ForeignSlice`] if a slice is not that of its header.
    pub fn fill<E>(&self, read: impl Fn(usize) -> Result<Slice, E> + Sync) -> Result<Volume<f32>, E>
    where
        E: From<GeometryError> + Send,
    {
        let mut voxels = self.allocate()?;
        let outcomes: Vec<Result<(), E>> = voxels
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .zip(self.order())
            .enumerate()
            .map(|(place, (mut plane, index))| {
                let slice = read(*index)?;
                self.put(&slice, Some(place), plane.as_slice_mut())?;
                Ok(())
            })
            .collect();
        outcomes.into_iter().collect::<Result<(), E>>()?;
        Ok(Volume::new(self.grid().clone(), voxels))
    }

    fn allocate(&self) -> Result<Array3<f32>, GeometryError> {
        let mut voxels = Vec::new();
        let count = self.grid().voxels();
        voxels.try_reserve_exact(count).map_err(|_| GeometryError::OutOfMemory)?;
        voxels.resize(count, 0.0);
        Array3::from_shape_vec(self.grid().shape(), voxels).map_err(|_| GeometryError::OutOfMemory)
    }

    /// Copies a slice into the plane at `place`, if it belongs there.
    fn put(
        &self,
        slice: &Slice,
        place: Option<usize>,
        plane: Option<&mut [f32]>,
    ) -> Result<(), GeometryError> {
        let fits = place.is_some() && self.place_of(&slice.header) == place;
        match plane {
            Some(plane) if fits && plane.len() == slice.pixels.len() => {
                slice.pixels.copy_into(plane);
                Ok(())
            }
            _ => Err(GeometryError::ForeignSlice),
        }
    }
}

/// A volume that is filled slice by slice, in any order.
#[derive(Debug)]
pub struct SeriesBuilder {
    plan: SeriesPlan,
    voxels: Array3<f32>,
    placed: Vec<bool>,
}

impl SeriesBuilder {
    /// Plans the volume from headers alone and reserves it.
    ///
    /// # Errors
    /// As [`plan`].
    pub fn new(headers: &[SliceHeader]) -> Result<SeriesBuilder, GeometryError> {
        let plan = plan(headers)?;
        let voxels = plan.allocate()?;
        let placed = vec![false; plan.order().len()];
        Ok(SeriesBuilder { plan, voxels, placed })
    }

    /// Puts a slice where its position says.
    ///
    /// # Errors
    /// [`GeometryError::ForeignSlice`] if it does not lie on the grid.
    pub fn place(&mut self, slice: &Slice) -> Result<(), GeometryError> {
        let place = self.plan.place_of(&slice.header).ok_or(GeometryError::ForeignSlice)?;
        let mut plane = self.voxels.index_axis_mut(Axis(0), place);
        self.plan.put(slice, Some(place), plane.as_slice_mut())?;
        self.placed[place] = true;
        Ok(())
    }

    /// The volume, once every slice is in place.
    ///
    /// # Errors
    /// [`GeometryError::Incomplete`].
    pub fn finish(self) -> Result<Volume<f32>, GeometryError> {
        match self.placed.iter().filter(|placed| !**placed).count() {
            0 => Ok(Volume::new(self.plan.grid().clone(), self.voxels)),
            missing => Err(GeometryError::Incomplete { missing }),
        }
    }
}

/// The volume of a whole series that is in memory already.
///
/// # Errors
/// As [`plan`].
pub fn assemble(slices: Vec<Slice>) -> Result<Volume<f32>, GeometryError> {
    let headers: Vec<SliceHeader> = slices.iter().map(|slice| slice.header.clone()).collect();
    let mut builder = SeriesBuilder::new(&headers)?;
    for slice in slices {
        builder.place(&slice)?;
    }
    builder.finish()
}
