//! From the network's grid back to the study's: each finished slice is resampled, decided
//! and dropped.
//!
//! Linear in all axes, but nearest along the separate axis; then what is kept of the classes
//! per voxel ([`Scores`]). The whole stack of class scores never exists.

use std::sync::Arc;

use ndarray::{Array2, Array3, ArrayView3, Axis, Zip};
use rayon::prelude::*;

use hepalert_bundles::Resampling;
use hepalert_study::anatomy;
use hepalert_voxels::image::resample::{Tap, mix, order_one_taps, should_separate_z, torch_taps};
use hepalert_voxels::image::vector::widest;

use super::decide::{Columns, Row, Rule};
use super::geometry::Geometry;
use super::{Plan, Scores};

/// Rows that one thread decides in a row: its buffers are made once for them.
const LEAST_ROWS: usize = 16;

/// Takes slices in order and fills [`Scores`].
pub(super) struct Export<'a> {
    geometry: &'a Geometry,
    rule: Rule,
    taps: [Vec<Tap>; 3],
    /// The last axis's taps once more.
    columns: Columns,
    /// The next output slice, in network axes.
    next: usize,
    /// The slice before the current one, where a later output slice lies between the two.
    previous: Option<Array3<f32>>,
    decided: Decided,
    scores: Scores,
}

/// One decided slice, `[y, x]` in network axes.
struct Decided {
    lesion: Array2<u8>,
    other: Array2<u8>,
    margin: Array2<f32>,
}

impl<'a> Export<'a> {
    /// Nothing exported yet: outside the nonzero box the background wins at every gain.
    pub(super) fn new(geometry: &'a Geometry, plan: &Plan) -> Export<'a> {
        let to = geometry.cropped_shape();
        let separate = should_separate_z(geometry.network_spacing_mm, geometry.study_spacing_mm);
        let plane = (to[1], to[2]);
        let taps = match plan.network.resampling_logits {
            Resampling::Default => order_one_taps(geometry.shape, to, separate),
            Resampling::Torch => torch_taps(geometry.shape, to, separate),
        };
        let shape = geometry.grid.shape();
        Export {
            geometry,
            rule: Rule::of(&plan.network),
            columns: Columns::new(&taps[2]),
            taps,
            next: 0,
            previous: None,
            decided: Decided {
                lesion: Array2::zeros(plane),
                other: Array2::zeros(plane),
                margin: Array2::zeros(plane),
            },
            scores: Scores {
                grid: Arc::clone(&geometry.grid),
                best_lesion: Array3::from_elem(shape, anatomy::Lesion::Hcc.label()),
                best_other: Array3::zeros(shape),
                margin: Array3::from_elem(shape, f32::INFINITY),
            },
        }
    }

    /// Takes slice `z` of the network's grid, `[class, y, x]`, and exports every study slice
    /// that it completes.
    pub(super) fn push(&mut self, z: usize, slice: ArrayView3<'_, f32>) {
        while let Some(&tap) = self.taps[0].get(self.next).filter(|tap| tap.upper <= z) {
            match self.previous.as_ref().filter(|_| tap.lower < z && tap.weight < 1.0) {
                Some(previous) => {
                    let mut blended = previous.clone();
                    Zip::from(&mut blended)
                        .and(slice)
                        .par_for_each(|a, &b| *a = mix(*a, b, tap.weight));
                    self.decide(blended.view());
                }
                None => self.decide(slice),
            }
            self.write();
            self.next += 1;
        }
        let spans = |tap: &Tap| tap.lower == z && tap.upper > z;
        let needed = self.taps[0].get(self.next).is_some_and(spans);
        self.previous = needed.then(|| slice.to_owned());
    }

    /// The scores, once every slice was pushed.
    ///
    /// # Panics
    /// If slices are missing.
    pub(super) fn finish(self) -> Scores {
        assert_eq!(self.next, self.taps[0].len(), "every slice is exported");
        self.scores
    }

    fn decide(&mut self, slice: ArrayView3<'_, f32>) {
        let Decided { lesion, other, margin } = &mut self.decided;
        let (ys, xs) = (&self.taps[1], &self.columns);
        let rule = &self.rule;
        let rows = lesion.outer_iter_mut().into_par_iter().zip(other.outer_iter_mut());
        rows.zip(margin.outer_iter_mut()).zip(ys).with_min_len(LEAST_ROWS).for_each_init(
            || Row::new(rule, slice.len_of(Axis(2)), xs.len()),
            |row, (((lesion, other), margin), y)| {
                widest(
                    #[inline(always)]
                    || row.decide(slice, *y, xs),
                );
                row.write(lesion, other);
                row.write_margin(margin);
            },
        );
    }

    fn write(&mut self) {
        let at = self.next;
        let Scores { best_lesion, best_other, margin, .. } = &mut self.scores;
        let geometry = self.geometry;
        let slot = |array| geometry.cropped_mut(array).index_axis_move(Axis(0), at);
        slot(best_lesion.view_mut()).assign(&self.decided.lesion);
        slot(best_other.view_mut()).assign(&self.decided.other);
        geometry
            .cropped_mut(margin.view_mut())
            .index_axis_move(Axis(0), at)
            .assign(&self.decided.margin);
    }
}
