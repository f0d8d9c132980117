//! What every engine must do, whatever runs it: the golden self-test, and the suite that
//! tests and `engine selftest` share.
//!
//! Refuses an engine that leaves parts of its output unwritten, gives NaN or a constant, or
//! differs from the stored logits.

use ndarray::{Array4, Array5, ArrayView1, ArrayView4, ArrayView5, Axis, s};

use super::{Engine, EngineError, EngineSpec};

/// Two logits closer than this are a tie: which of them wins says nothing of the engine.
const TIE: f32 = 1e-3;

/// Patches that [`suite`] runs.
pub const SUITE_RUNS: usize = 4;

/// What the golden self-test lets pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Smallest share of voxels whose best class is the expected one.
    pub argmax_agreement: f64,
    /// Largest difference of one logit.
    pub logit_difference: f32,
}

impl Tolerance {
    /// For `f32` backends: measured differences to torch are 3e-4 (tract, native) to 7e-3
    /// (OpenVINO), on logits of about ten.
    pub const F32: Tolerance = Tolerance { argmax_agreement: 0.9999, logit_difference: 0.02 };
    /// For bf16 and f16: only the best class counts, within what a label map can bear. Logits
    /// of trained networks differ by up to half a unit in bf16, far from any border.
    pub const HALF: Tolerance = Tolerance { argmax_agreement: 0.999, logit_difference: f32::MAX };
}

/// A patch and the logits a network gave for it when its bundle was made.
#[derive(Debug, Clone)]
pub struct GoldenPatch {
    /// `[channel, z, y, x]`, normalised.
    pub input: Array4<f32>,
    /// `[class, z, y, x]` at every `stride`-th voxel.
    pub expected: Array4<f32>,
    /// Sampling of `expected`.
    pub stride: [usize; 3],
    /// Whether classes are regions, which overlap: each is inside or outside by itself, and
    /// which of two is the higher says nothing.
    pub regions: bool,
}

/// How close an engine came to its golden logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conformity {
    /// Share of the sampled voxels whose best class is the expected one, or tied with it; of
    /// regions, of those that are in the expected regions and no others.
    pub argmax_agreement: f64,
    /// Largest difference of one logit.
    pub logit_difference: f32,
}

impl Conformity {
    /// The worse figures of two patches. A NaN is not below anything, so it stays.
    fn worse(self, other: Conformity) -> Conformity {
        let logits = [self.logit_difference, other.logit_difference];
        Conformity {
            argmax_agreement: self.argmax_agreement.min(other.argmax_agreement),
            logit_difference: if logits[1] <= logits[0] { logits[0] } else { logits[1] },
        }
    }
}

/// Runs a batch that holds the golden patch in every place, and compares every answer.
///
/// # Errors
/// [`EngineError::SelfTest`] says what differed; [`EngineError::Backend`] if it did not run.
pub fn self_test(
    engine: &mut dyn Engine,
    golden: &GoldenPatch,
    tolerance: Tolerance,
) -> Result<Conformity, EngineError> {
    let logits = run(engine, &golden.input)?;
    let [sz, sy, sx] = golden.stride.map(|stride| stride as isize);
    let mut conformity = Conformity { argmax_agreement: 1.0, logit_difference: 0.0 };
    for logits in logits.outer_iter() {
        let sampled = logits.slice(s![.., ..;sz, ..;sy, ..;sx]);
        check_plain(sampled)?;
        conformity = conformity.worse(compare(sampled, golden)?);
    }
    let close = conformity.logit_difference <= tolerance.logit_difference
        && conformity.argmax_agreement >= tolerance.argmax_agreement;
    if close {
        return Ok(conformity);
    }
    failed(format!(
        "largest logit difference {:.4} ({}), best class equal on {:.3} % of voxels (needed {} %)",
        conformity.logit_difference,
        match tolerance.logit_difference {
            f32::MAX => "any allowed".to_owned(),
            most => format!("allowed {most}"),
        },
        100.0 * conformity.argmax_agreement,
        100.0 * tolerance.argmax_agreement
    ))
}

/// The self-test and more: a second run must give the same bytes as the first, and so must the
/// answer where the engine left it ([`Engine::infer_with`]).
///
/// # Errors
/// As [`self_test`]; also if runs differ.
pub fn suite(
    engine: &mut dyn Engine,
    golden: &GoldenPatch,
    tolerance: Tolerance,
) -> Result<Conformity, EngineError> {
    let conformity = self_test(engine, golden, tolerance)?;
    let first = run(engine, &golden.input)?;
    let second = run(engine, &golden.input)?;
    if !same_bits(first.view(), second.view()) {
        return failed("two runs of one patch differ".to_owned());
    }
    let mut lent = None;
    let patches = batch_of(engine.spec(), &golden.input);
    let mut room = Array5::from_elem(engine.spec().output_shape(), f32::NAN);
    engine.infer_with(patches.view(), &mut room, &mut |logits| {
        lent = Some(same_bits(first.view(), logits));
    })?;
    match lent {
        Some(true) => Ok(conformity),
        Some(false) => failed("its answer in place differs from the copied one".to_owned()),
        None => failed("it shows no answer in place".to_owned()),
    }
}

fn same_bits(a: ArrayView5<'_, f32>, b: ArrayView5<'_, f32>) -> bool {
    a.shape() == b.shape() && a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// A batch whose every entry is `input`.
fn batch_of(spec: &EngineSpec, input: &Array4<f32>) -> Array5<f32> {
    let mut patches = Array5::zeros(spec.input_shape());
    for mut patch in patches.outer_iter_mut() {
        patch.assign(input);
    }
    patches
}

/// One batch whose every entry is the golden patch; the output starts as NaN so that an
/// unwritten voxel shows.
fn run(engine: &mut dyn Engine, input: &Array4<f32>) -> Result<Array5<f32>, EngineError> {
    let spec = engine.spec().clone();
    let [_, channels, z, y, x] = spec.input_shape();
    if input.shape() != [channels, z, y, x] {
        return failed(format!(
            "the golden patch is {:?}, the engine takes {:?}",
            input.shape(),
            [channels, z, y, x]
        ));
    }
    let patches = batch_of(&spec, input);
    let mut logits = Array5::from_elem(spec.output_shape(), f32::NAN);
    engine.infer(patches.view(), logits.view_mut())?;
    match logits.iter().position(|v| !v.is_finite()) {
        Some(at) => failed(format!("output {at} of {} is not a number", logits.len())),
        None => Ok(logits),
    }
}

/// A network that has lost its weights gives one value everywhere.
fn check_plain(logits: ArrayView4<'_, f32>) -> Result<(), EngineError> {
    let first = logits.first().copied().unwrap_or_default();
    if logits.iter().all(|&v| v == first) {
        return failed(format!("the output is {first} everywhere"));
    }
    Ok(())
}

fn compare(found: ArrayView4<'_, f32>, golden: &GoldenPatch) -> Result<Conformity, EngineError> {
    let expected = &golden.expected;
    if found.shape() != expected.shape() {
        return failed(format!("{:?} logits, expected {:?}", found.shape(), expected.shape()));
    }
    let mut largest = 0.0_f32;
    for (a, b) in found.iter().zip(expected) {
        // A NaN among the expected logits must fail, and NaN compares false.
        largest = if (a - b).abs() <= largest { largest } else { (a - b).abs() };
    }
    let mut agreeing = 0_usize;
    let mut voxels = 0_usize;
    for (a, b) in found.lanes(Axis(0)).into_iter().zip(expected.lanes(Axis(0))) {
        voxels += 1;
        agreeing += usize::from(if golden.regions { same_regions(a, b) } else { same_best(a, b) });
    }
    Ok(Conformity {
        argmax_agreement: agreeing as f64 / voxels.max(1) as f64,
        logit_difference: largest,
    })
}

/// Whether the best class is the expected one, or was tied with it.
fn same_best(found: ArrayView1<'_, f32>, expected: ArrayView1<'_, f32>) -> bool {
    expected[best(expected.iter())] - expected[best(found.iter())] <= TIE
}

/// Whether every region is on the expected side of the sigmoid's half, or was on neither.
fn same_regions(found: ArrayView1<'_, f32>, expected: ArrayView1<'_, f32>) -> bool {
    found.iter().zip(expected).all(|(&a, &b)| (a > 0.0) == (b > 0.0) || b.abs() <= TIE)
}

/// Index of the largest value; the lowest index of equal ones.
fn best<'a>(values: impl Iterator<Item = &'a f32>) -> usize {
    let start = (0, f32::NEG_INFINITY);
    values.enumerate().fold(start, |top, (i, &v)| if v > top.1 { (i, v) } else { top }).0
}

fn failed<T>(reason: String) -> Result<T, EngineError> {
    Err(EngineError::SelfTest { reason })
}

#[cfg(test)]
mod tests;
