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
use crate::image::vector::widest;

use super::half::round_to_f16;
use super::preprocess::Geometry;
use super::{Plan, Scores};

/// Rows that one thread decides in a row: its buffers are made once for them.
const LEAST_ROWS: usize = 16;

/// Takes slices in order and fills [`Scores`].
pub(super) struct Export<'a> {
    geometry: &'a Geometry,
    fusion: Fusion,
    precision: Sums,
    /// True for the classes that compete as lesions.
    lesions: Vec<bool>,
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
        let taps = order_one_taps(geometry.shape, to, separate);
        let shape = geometry.grid.shape();
        Export {
            geometry,
            fusion: plan.network.fusion,
            precision: super::precision(&plan.network),
            lesions: lesion_classes(&plan.network.classes),
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
        let (fusion, precision, lesions) = (self.fusion, self.precision, &self.lesions);
        let rows = lesion.outer_iter_mut().into_par_iter().zip(other.outer_iter_mut());
        rows.zip(margin.outer_iter_mut()).zip(ys).with_min_len(LEAST_ROWS).for_each_init(
            || Row::new(slice.len_of(Axis(2)), xs.len(), precision),
            |row, (((lesion, other), margin), y)| {
                widest(
                    #[inline(always)]
                    || row.compete(slice, *y, xs, lesions),
                );
                row.lesion.write_class(lesion);
                row.other.write_class(other);
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

/// Taps of the last axis, one array per part.
struct Columns {
    lower: Vec<u32>,
    upper: Vec<u32>,
    weight: Vec<f32>,
}

impl Columns {
    fn new(taps: &[Tap]) -> Columns {
        Columns {
            lower: taps.iter().map(|tap| tap.lower as u32).collect(),
            upper: taps.iter().map(|tap| tap.upper as u32).collect(),
            weight: taps.iter().map(|tap| tap.weight).collect(),
        }
    }

    fn len(&self) -> usize {
        self.weight.len()
    }
}

/// The best of some classes along a row.
struct Best {
    value: Vec<f32>,
    /// As wide as the values, so that both are chosen by one comparison.
    class: Vec<u32>,
}

impl Best {
    fn new(width: usize) -> Best {
        Best { value: vec![0.0; width], class: vec![0; width] }
    }

    fn clear(&mut self, class: u8) {
        self.value.fill(f32::NEG_INFINITY);
        self.class.fill(u32::from(class));
    }

    /// Lets a class compete; ties stay with the lower class.
    #[inline(always)]
    fn challenge(&mut self, class: u32, values: impl Iterator<Item = f32>) {
        for ((best, winner), value) in self.value.iter_mut().zip(&mut self.class).zip(values) {
            let better = value > *best;
            *best = if better { value } else { *best };
            *winner = if better { class } else { *winner };
        }
    }

    fn write_class(&self, mut row: ArrayViewMut1<'_, u8>) {
        row.iter_mut().zip(&self.class).for_each(|(label, &class)| *label = class as u8);
    }
}

/// Buffers for one row of a slice.
struct Row {
    precision: Sums,
    /// The row between two source rows.
    line: Vec<f32>,
    /// That row's samples on both sides of every output sample.
    left: Vec<f32>,
    right: Vec<f32>,
    lesion: Best,
    other: Best,
}

impl Row {
    fn new(source: usize, target: usize, precision: Sums) -> Row {
        Row {
            precision,
            line: vec![0.0; source],
            left: vec![0.0; target],
            right: vec![0.0; target],
            lesion: Best::new(target),
            other: Best::new(target),
        }
    }

    /// Resamples every class and keeps the best of both kinds.
    #[inline(always)]
    fn compete(&mut self, slice: ArrayView3<'_, f32>, y: Tap, xs: &Columns, lesions: &[bool]) {
        self.lesion.clear(anatomy::Lesion::Hcc.label());
        self.other.clear(0);
        for (class, plane) in slice.outer_iter().enumerate() {
            let (below, above) = (plane.row(y.lower), plane.row(y.upper));
            let (Some(below), Some(above)) = (below.as_slice(), above.as_slice()) else {
                unreachable!("rows of scores are whole")
            };
            for ((value, &a), &b) in self.line.iter_mut().zip(below).zip(above) {
                *value = mix(a, b, y.weight);
            }
            for (left, &at) in self.left.iter_mut().zip(&xs.lower) {
                *left = self.line[at as usize];
            }
            for (right, &at) in self.right.iter_mut().zip(&xs.upper) {
                *right = self.line[at as usize];
            }
            let best = if lesions[class] { &mut self.lesion } else { &mut self.other };
            let sides = self.left.iter().zip(&self.right).zip(&xs.weight);
            let values = sides.map(|((&a, &b), &weight)| mix(a, b, weight));
            match self.precision {
                Sums::F16 => best.challenge(class as u32, values.map(round_to_f16)),
                Sums::F32 => best.challenge(class as u32, values),
            }
        }
    }

    /// Best other minus best lesion in logits: `ln` of the ratio for probabilities.
    fn write_margin(&self, fusion: Fusion, mut margin: ArrayViewMut1<'_, f32>) {
        let pairs = self.other.value.iter().zip(&self.lesion.value);
        for (margin, (&other, &lesion)) in margin.iter_mut().zip(pairs) {
            *margin = match fusion {
                Fusion::Logits => other - lesion,
                Fusion::Probabilities if lesion <= 0.0 => f32::INFINITY,
                Fusion::Probabilities => other.ln() - lesion.ln(),
            };
        }
    }
}
