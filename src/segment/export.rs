//! From the network's grid back to the study's: each finished slice is resampled, decided
//! and dropped.
//!
//! Linear in all axes, but nearest along the separate axis; then what is kept of the classes
//! per voxel ([`Scores`]). The whole stack of class scores never exists.

use std::sync::Arc;

use ndarray::{Array2, Array3, ArrayView3, ArrayViewMut1, Axis, Zip};
use rayon::prelude::*;

use crate::anatomy;
use crate::engine::bundle::{Fusion, Sums};
use crate::image::resample::{Tap, mix, order_one_taps, should_separate_z};

use super::half::round_to_f16;
use super::preprocess::Geometry;
use super::{Plan, Scores};

/// Takes slices in order and fills [`Scores`].
pub(super) struct Export<'a> {
    geometry: &'a Geometry,
    fusion: Fusion,
    precision: Sums,
    /// True for the classes that compete as lesions.
    lesions: Vec<bool>,
    taps: [Vec<Tap>; 3],
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
        let shape = geometry.grid.shape();
        Export {
            geometry,
            fusion: plan.network.fusion,
            precision: super::precision(&plan.network),
            lesions: lesion_classes(&plan.network.classes),
            taps: order_one_taps(geometry.shape, to, separate),
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
        let [_, ys, xs] = &self.taps;
        let (fusion, precision, lesions) = (self.fusion, self.precision, &self.lesions);
        let rows = lesion.outer_iter_mut().into_par_iter().zip(other.outer_iter_mut());
        rows.zip(margin.outer_iter_mut()).zip(ys).for_each_init(
            || Row::new(slice.len_of(Axis(2)), xs.len(), precision),
            |row, (((lesion, other), margin), y)| {
                row.compete(slice, *y, xs, lesions, lesion, other);
                row.write_margin(fusion, margin);
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

/// Which classes are lesions: 1 to 6 if the network has the classes of the house; none for
/// anyone else's network, whose `best_other` is then the plain argmax.
fn lesion_classes(classes: &[String]) -> Vec<bool> {
    let house = classes.iter().map(String::as_str).eq(anatomy::class_names());
    (0..classes.len()).map(|class| house && anatomy::is_lesion(class as u8)).collect()
}

/// Buffers for one row of a slice.
struct Row {
    precision: Sums,
    line: Vec<f32>,
    best_lesion: Vec<f32>,
    best_other: Vec<f32>,
}

impl Row {
    fn new(source: usize, target: usize, precision: Sums) -> Row {
        Row {
            precision,
            line: vec![0.0; source],
            best_lesion: vec![0.0; target],
            best_other: vec![0.0; target],
        }
    }

    /// Resamples every class and keeps the best of both kinds; ties stay with the lower class.
    fn compete<'a>(
        &mut self,
        slice: ArrayView3<'_, f32>,
        y: Tap,
        xs: &[Tap],
        lesions: &[bool],
        mut lesion: ArrayViewMut1<'a, u8>,
        mut other: ArrayViewMut1<'a, u8>,
    ) {
        self.best_lesion.fill(f32::NEG_INFINITY);
        self.best_other.fill(f32::NEG_INFINITY);
        lesion.fill(anatomy::Lesion::Hcc.label());
        other.fill(0);
        for (class, plane) in slice.outer_iter().enumerate() {
            let (below, above) = (plane.row(y.lower), plane.row(y.upper));
            for ((value, &a), &b) in self.line.iter_mut().zip(below).zip(above) {
                *value = mix(a, b, y.weight);
            }
            let (best, winner) = if lesions[class] {
                (&mut self.best_lesion, &mut lesion)
            } else {
                (&mut self.best_other, &mut other)
            };
            for ((best, winner), x) in best.iter_mut().zip(winner).zip(xs) {
                let exact = mix(self.line[x.lower], self.line[x.upper], x.weight);
                let value = match self.precision {
                    Sums::F16 => round_to_f16(exact),
                    Sums::F32 => exact,
                };
                if value > *best {
                    *best = value;
                    *winner = class as u8;
                }
            }
        }
    }

    /// Best other minus best lesion in logits: `ln` of the ratio for probabilities.
    fn write_margin(&self, fusion: Fusion, mut margin: ArrayViewMut1<'_, f32>) {
        let pairs = self.best_other.iter().zip(&self.best_lesion);
        for (margin, (&other, &lesion)) in margin.iter_mut().zip(pairs) {
            *margin = match fusion {
                Fusion::Logits => other - lesion,
                Fusion::Probabilities if lesion <= 0.0 => f32::INFINITY,
                Fusion::Probabilities => other.ln() - lesion.ln(),
            };
        }
    }
}
