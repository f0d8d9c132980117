//! The loop over lesions, patches and batches.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ndarray::{Array3, Array5, Axis};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::lesion::{Candidate, PatchLesion};
use super::prepared::Prepared;
use super::region::LIVER_CLASS;
use super::score::{Counts, is_lost, mean_and_std, overlap, score_cm3};
use super::seed::{Seed, patch_generator};
use super::shuffle::draw;
use super::vote::vote;
use super::{MAX_PATCHES, Reclassified, ReclassifyError, ReclassifyParams, Schemes};
use hepalert_engines::{Engine, EngineSpec};
use hepalert_study::anatomy::Lesion;
use hepalert_study::outcome::KeepReason;

/// Answers of the network, kept for lesions with identical masks: the low and the high gain
/// share most. An answer is found again only for the same mask, region, seed and parameters;
/// the lesion's type plays no part in it. One cache serves one [`Prepared`] and one engine.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    answers: BTreeMap<[u8; 32], Vec<Counts>>,
    hits: usize,
}

impl Cache {
    /// How often an answer was found again.
    pub fn hits(&self) -> usize {
        self.hits
    }
}

/// Judges lesions: bypass above `keep_above_cm3`, discard below `discard_below_cm3`, else
/// patches through the network, score (Eq. 11) and vote. One result per candidate, in their
/// order. `watch` is told patches done and the total, and may stop the work.
///
/// A carried voxel stands for `volume_cm3` / (voxels of the mask on the patch grid): on the
/// study's own grid that is the voxel volume of Eq. (11), on another grid it keeps full
/// overlap equal to the lesion's volume, so that the size shortcut and the early stop are
/// exact there too.
///
/// # Errors
/// [`ReclassifyError`]; nothing is judged by halves.
pub fn reclassify(
    prepared: &Prepared,
    candidates: &[Candidate<'_>],
    engine: &mut dyn Engine,
    params: &ReclassifyParams,
    seed: Seed,
    cache: &mut Cache,
    watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Vec<Reclassified>, ReclassifyError> {
    check(prepared, engine.spec(), params)?;
    let needs_network = |c: &&Candidate<'_>| unseen(c, params).is_none();
    let total = candidates.iter().filter(needs_network).count() * params.patches;
    let mut show = PatchRunner::new(prepared, engine, *params, seed);
    let mut done = 0;
    let mut results = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        if let Some(why) = unseen(candidate, params) {
            results.push(Reclassified::unseen(candidate.id, candidate.kind, why));
            continue;
        }
        let lesion = PatchLesion::of(candidate, prepared);
        let key = answer_key(prepared, &lesion, candidate, params, seed);
        let before = done;
        let counts = match cache.answers.get(&key) {
            Some(counts) => {
                cache.hits += 1;
                counts.clone()
            }
            None => {
                let counts =
                    show.lesion(candidate, &lesion, &mut |patches| watch(before + patches, total))?;
                cache.answers.insert(key, counts.clone());
                counts
            }
        };
        done += params.patches;
        if watch(done, total).is_break() {
            return Err(ReclassifyError::Stopped);
        }
        results.push(decide(candidate, &lesion, &counts, params));
    }
    Ok(results)
}

/// What is decided without the network.
fn unseen(candidate: &Candidate<'_>, params: &ReclassifyParams) -> Option<KeepReason> {
    if candidate.volume_cm3 > params.keep_above_cm3 {
        Some(KeepReason::Bypassed)
    } else if candidate.volume_cm3 < params.discard_below_cm3 {
        Some(KeepReason::TooSmall)
    } else {
        None
    }
}

fn check(
    prepared: &Prepared,
    spec: &EngineSpec,
    params: &ReclassifyParams,
) -> Result<(), ReclassifyError> {
    if !(1..=MAX_PATCHES).contains(&params.patches) {
        let reason = format!("{} patches per lesion; take 1 to {MAX_PATCHES}", params.patches);
        return Err(ReclassifyError::Params(reason));
    }
    if params.keep_above_cm3.is_nan() || params.discard_below_cm3.is_nan() {
        return Err(ReclassifyError::Params("a volume threshold is not a number".into()));
    }
    let shape = |reason: String| Err(ReclassifyError::Shape(reason));
    let phases = prepared.images().len_of(Axis(0));
    if spec.channels != phases {
        return shape(format!("it takes {} phases, the study has {phases}", spec.channels));
    }
    if spec.patch != prepared.patch_size() {
        let prepared = prepared.patch_size();
        return shape(format!("its patch is {:?}, prepared is {prepared:?}", spec.patch));
    }
    if spec.classes != usize::from(LIVER_CLASS) + 1 {
        return shape(format!("it has {} classes, 8 are needed", spec.classes));
    }
    if spec.batch == 0 {
        return shape("its batch is empty".into());
    }
    Ok(())
}

/// Volume that one carried voxel stands for; 0 if the mask has none on the patch grid.
fn voxel_cm3(candidate: &Candidate<'_>, lesion: &PatchLesion) -> f64 {
    match lesion.whole {
        0 => 0.0,
        whole => candidate.volume_cm3 / whole as f64,
    }
}

/// Names an answer by everything it depends on (within one study and engine).
fn answer_key(
    prepared: &Prepared,
    lesion: &PatchLesion,
    candidate: &Candidate<'_>,
    params: &ReclassifyParams,
    seed: Seed,
) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(b"hepalert answer 1");
    hash.update(seed.0);
    hash.update(prepared.region().fingerprint());
    hash.update(lesion.fingerprint);
    hash.update((params.patches as u64).to_le_bytes());
    hash.update([u8::from(params.schemes == Schemes::OriginalOnly), u8::from(params.early_stop)]);
    hash.update(params.discard_below_cm3.to_le_bytes());
    hash.update(candidate.volume_cm3.to_le_bytes());
    hash.finalize().into()
}

/// The network with its buffers.
struct PatchRunner<'a> {
    prepared: &'a Prepared,
    engine: &'a mut dyn Engine,
    params: ReclassifyParams,
    seed: Seed,
    patches: Array5<f32>,
    logits: Array5<f32>,
}

impl<'a> PatchRunner<'a> {
    fn new(
        prepared: &'a Prepared,
        engine: &'a mut dyn Engine,
        params: ReclassifyParams,
        seed: Seed,
    ) -> PatchRunner<'a> {
        let patches = Array5::zeros(engine.spec().input_shape());
        let logits = Array5::zeros(engine.spec().output_shape());
        PatchRunner { prepared, engine, params, seed, patches, logits }
    }

    /// Runs a lesion's patches batch by batch, until all are seen or the lesion is lost. Answers
    /// are taken one by one, as if each patch had been asked for alone: what is said of a lesion
    /// does not depend on how many a call takes.
    fn lesion(
        &mut self,
        candidate: &Candidate<'_>,
        lesion: &PatchLesion,
        watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Counts>, ReclassifyError> {
        let total = self.params.patches;
        let mut seen: Vec<Counts> = Vec::with_capacity(total);
        while seen.len() < total && !self.lost(candidate, lesion, &seen) {
            let count = (total - seen.len()).min(self.engine.spec().batch);
            let carried = self.batch(candidate, lesion, seen.len(), count)?;
            for (slot, carried) in carried.iter().enumerate() {
                if self.lost(candidate, lesion, &seen) {
                    break;
                }
                let logits = self.logits.index_axis(Axis(0), slot);
                if !logits.iter().all(|logit| logit.is_finite()) {
                    return Err(ReclassifyError::NotFinite(candidate.id));
                }
                seen.push(overlap(logits, carried.view()));
            }
            if watch(seen.len()).is_break() {
                return Err(ReclassifyError::Stopped);
            }
        }
        Ok(seen)
    }

    /// Whether a lesion is lost whatever its other patches say.
    fn lost(&self, candidate: &Candidate<'_>, lesion: &PatchLesion, seen: &[Counts]) -> bool {
        let ReclassifyParams { patches: total, discard_below_cm3, early_stop, .. } = self.params;
        let overlaps = seen.iter().flatten().map(|&n| u64::from(n)).sum();
        let (left, points) = (total - seen.len(), lesion.points.len());
        let unit = voxel_cm3(candidate, lesion);
        early_stop && is_lost(overlaps, left, points, total, unit, discard_below_cm3)
    }

    /// Runs patches `first..first + count`, drawn on all cores; what is left of a static batch is
    /// filled with repetitions, whose answers are ignored. Gives where the lesion lies in each.
    fn batch(
        &mut self,
        candidate: &Candidate<'_>,
        lesion: &PatchLesion,
        first: usize,
        count: usize,
    ) -> Result<Vec<Array3<bool>>, ReclassifyError> {
        let class = candidate.kind.label();
        let (prepared, seed, schemes) = (self.prepared, self.seed, self.params.schemes);
        let (mut known, mut rest) = self.patches.view_mut().split_at(Axis(0), count);
        let slots = known.axis_iter_mut(Axis(0)).into_par_iter().enumerate();
        let carried = slots.map(|(slot, mut images)| {
            let (scheme, index) = schemes.nth(first + slot);
            let mut generator = patch_generator(seed, lesion.fingerprint, scheme, index);
            let patch = draw(prepared, lesion, class, scheme, &mut generator);
            images.assign(&patch.images);
            patch.carried
        });
        let carried = carried.collect();
        for mut images in rest.outer_iter_mut() {
            images.assign(&known.index_axis(Axis(0), count - 1));
        }
        self.engine.infer(self.patches.view(), self.logits.view_mut())?;
        Ok(carried)
    }
}

/// Score, decision and vote from the answers.
fn decide(
    candidate: &Candidate<'_>,
    lesion: &PatchLesion,
    counts: &[Counts],
    params: &ReclassifyParams,
) -> Reclassified {
    let unit = voxel_cm3(candidate, lesion);
    let votes: [u64; Lesion::ALL.len()] =
        std::array::from_fn(|class| counts.iter().map(|patch| u64::from(patch[class])).sum());
    let overlaps = votes.iter().sum();
    let score = score_cm3(overlaps, counts.len().max(1), unit);
    let kept = counts.len() == params.patches && score >= params.discard_below_cm3;
    let volumes: Vec<f64> = counts
        .iter()
        .map(|patch| unit * patch.iter().map(|&n| u64::from(n)).sum::<u64>() as f64)
        .collect();
    Reclassified {
        id: candidate.id,
        kept,
        why: if kept { KeepReason::Kept } else { KeepReason::LowScore },
        score_cm3: Some(score),
        score_std_cm3: mean_and_std(&volumes).map(|(_, std)| std),
        ratio: (candidate.volume_cm3 > 0.0).then(|| score / candidate.volume_cm3),
        patch_volumes_cm3: volumes,
        votes_cm3: votes.map(|voxels| unit * voxels as f64),
        label_before: candidate.kind,
        label_after: if kept { vote(votes, candidate.kind) } else { candidate.kind },
        patches_run: counts.len(),
    }
}
