//! From the class scores of a row to what is kept of them: the decision rules.
//!
//! Owns the competition of lesions and other classes, the painting of regions, and the
//! margin. Refuses whole volumes: it sees one row of one slice at a time.

use ndarray::{ArrayView3, ArrayViewMut1};

use hepalert_bundles::{Decision, Fusion, NetworkPlan, Resampling, Sums};
use hepalert_study::anatomy;
use hepalert_voxels::image::resample::{Tap, mix};

use super::half::round_to_f16;

/// The least logit whose sigmoid, computed in `f32`, exceeds one half: below it
/// `1 + exp(-logit)` is still rounded to 2. torch 2.15 on a CPU agrees for every f16.
const LEAST_INSIDE: f32 = 1.5 / 16_777_216.0;

/// How a network's scores become labels.
#[derive(Debug)]
pub(super) struct Rule {
    fusion: Fusion,
    precision: Sums,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// True for the classes that compete as lesions.
    Compete(Vec<bool>),
    /// The label that each channel paints.
    Paint(Vec<u8>),
}

impl Rule {
    /// The rule of this network. nnU-Net resamples logits to f16 by its own function, and to
    /// `f32` by torch's.
    pub(super) fn of(network: &NetworkPlan) -> Rule {
        Rule {
            fusion: network.fusion,
            precision: match network.resampling_logits {
                Resampling::Default => super::precision(network),
                Resampling::Torch => Sums::F32,
            },
            kind: match &network.decision {
                Decision::Argmax => Kind::Compete(lesion_classes(&network.classes)),
                Decision::Regions(order) => Kind::Paint(order.clone()),
            },
        }
    }
}

/// Which classes are lesions: 1 to 6 if the network has the classes of the house; none for
/// anyone else's network, whose `best_other` is then the plain argmax.
fn lesion_classes(classes: &[String]) -> Vec<bool> {
    let house = classes.iter().map(String::as_str).eq(anatomy::class_names());
    (0..classes.len()).map(|class| house && anatomy::is_lesion(class as u8)).collect()
}

/// Taps of the last axis, one array per part.
pub(super) struct Columns {
    lower: Vec<u32>,
    upper: Vec<u32>,
    weight: Vec<f32>,
}

impl Columns {
    pub(super) fn new(taps: &[Tap]) -> Columns {
        Columns {
            lower: taps.iter().map(|tap| tap.lower as u32).collect(),
            upper: taps.iter().map(|tap| tap.upper as u32).collect(),
            weight: taps.iter().map(|tap| tap.weight).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
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

    /// Lets a region paint its label over those before it.
    #[inline(always)]
    fn paint(&mut self, label: u8, values: impl Iterator<Item = f32>) {
        for (found, value) in self.class.iter_mut().zip(values) {
            *found = if value >= LEAST_INSIDE { u32::from(label) } else { *found };
        }
    }

    fn write_class(&self, mut row: ArrayViewMut1<'_, u8>) {
        row.iter_mut().zip(&self.class).for_each(|(label, &class)| *label = class as u8);
    }
}

/// Buffers for one row of a slice.
pub(super) struct Row<'a> {
    rule: &'a Rule,
    /// The row between two source rows.
    line: Vec<f32>,
    /// That row's samples on both sides of every output sample.
    left: Vec<f32>,
    right: Vec<f32>,
    lesion: Best,
    other: Best,
}

impl Row<'_> {
    /// For rows of `source` voxels that become rows of `target`.
    pub(super) fn new(rule: &Rule, source: usize, target: usize) -> Row<'_> {
        Row {
            rule,
            line: vec![0.0; source],
            left: vec![0.0; target],
            right: vec![0.0; target],
            lesion: Best::new(target),
            other: Best::new(target),
        }
    }

    /// Resamples every class of `slice` `[class, y, x]` and keeps the best of both kinds;
    /// regions are all of the other kind.
    #[inline(always)]
    pub(super) fn decide(&mut self, slice: ArrayView3<'_, f32>, y: Tap, xs: &Columns) {
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
            let sides = self.left.iter().zip(&self.right).zip(&xs.weight);
            let values = sides.map(|((&a, &b), &weight)| mix(a, b, weight));
            let best = match &self.rule.kind {
                Kind::Compete(lesions) if lesions[class] => &mut self.lesion,
                Kind::Compete(_) => &mut self.other,
                Kind::Paint(labels) => {
                    match self.rule.precision {
                        Sums::F16 => self.other.paint(labels[class], values.map(round_to_f16)),
                        Sums::F32 => self.other.paint(labels[class], values),
                    }
                    continue;
                }
            };
            match self.rule.precision {
                Sums::F16 => best.challenge(class as u32, values.map(round_to_f16)),
                Sums::F32 => best.challenge(class as u32, values),
            }
        }
    }

    /// The winners of both kinds.
    pub(super) fn write(&self, lesion: ArrayViewMut1<'_, u8>, other: ArrayViewMut1<'_, u8>) {
        self.lesion.write_class(lesion);
        self.other.write_class(other);
    }

    /// Best other minus best lesion in logits: `ln` of the ratio for probabilities. Infinite
    /// where no lesion competes.
    pub(super) fn write_margin(&self, mut margin: ArrayViewMut1<'_, f32>) {
        if matches!(self.rule.kind, Kind::Paint(_)) {
            return margin.fill(f32::INFINITY);
        }
        let pairs = self.other.value.iter().zip(&self.lesion.value);
        for (margin, (&other, &lesion)) in margin.iter_mut().zip(pairs) {
            *margin = match self.rule.fusion {
                Fusion::Logits => other - lesion,
                Fusion::Probabilities if lesion <= 0.0 => f32::INFINITY,
                Fusion::Probabilities => other.ln() - lesion.ln(),
            };
        }
    }
}
