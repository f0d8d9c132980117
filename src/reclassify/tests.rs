//! Tiny livers and networks whose answers are known.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use ndarray::{Array3, ArrayView5, ArrayViewMut5, Axis, s};
use proptest::prelude::*;

use super::*;
use crate::engine::{Engine, EngineSpec};
use crate::image::normalise::Normalisation;
use crate::study::{AlignedStudy, Phase, Study, StudyKey};
use crate::volume::{Grid, LabelMap, Volume};

const LIVER: f32 = 1.0;
/// A voxel of a lesion that the fake network does not see.
const UNSEEN: f32 = 2.0;

/// The value that the fake network reads as this class.
fn value_of(label: u8) -> f32 {
    match label {
        1..=6 => 10.0 + f32::from(label),
        7 => LIVER,
        _ => 0.5,
    }
}

struct Case {
    labels: Array3<u8>,
    /// First phase; the second is a ramp that names every voxel.
    values: Array3<f32>,
    patch: [usize; 3],
    spacing_mm: [f64; 3],
}

impl Case {
    /// A box of liver with a margin of background.
    fn liver(shape: [usize; 3], margin: usize) -> Case {
        let mut labels = Array3::zeros(shape);
        let [z, y, x] = shape;
        labels.slice_mut(s![margin..z - margin, margin..y - margin, margin..x - margin]).fill(7);
        let values = labels.mapv(value_of);
        Case { labels, values, patch: [4, 8, 8], spacing_mm: [1.0; 3] }
    }

    /// Draws a box of lesion and gives its mask's place.
    fn lesion(
        &mut self,
        lo: [usize; 3],
        size: [usize; 3],
        label: u8,
    ) -> ([usize; 3], Array3<bool>) {
        let hi: [usize; 3] = std::array::from_fn(|axis| lo[axis] + size[axis]);
        let part = s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]];
        self.labels.slice_mut(part).fill(label);
        self.values.slice_mut(part).fill(value_of(label));
        (lo, Array3::from_elem(size, true))
    }

    fn prepare(&self) -> Prepared {
        let shape = [self.labels.dim().0, self.labels.dim().1, self.labels.dim().2];
        let grid = Arc::new(Grid::axial(shape, [1.0; 3], [0.0; 3]));
        let ramp = (0..self.labels.len()).map(|n| 1.0 + n as f32).collect();
        let ramp = Array3::from_shape_vec(shape, ramp).unwrap();
        let phases = BTreeMap::from([
            (Phase::Nc, Volume::new(Arc::clone(&grid), self.values.clone())),
            (Phase::Vp, Volume::new(Arc::clone(&grid), ramp)),
        ]);
        let key = StudyKey::new(&"0".repeat(32)).unwrap();
        let study =
            AlignedStudy::from_study(Study { key, phases }, &[Phase::Nc, Phase::Vp]).unwrap();
        let sampling = Sampling {
            spacing_mm: self.spacing_mm,
            patch: self.patch,
            channels: vec![Normalisation::None; 2],
        };
        let labels: LabelMap = Volume::new(grid, self.labels.clone());
        Prepared::new(&study, &labels, &sampling).unwrap()
    }
}

/// One voxel is 0.1 cm3, whatever the grid says.
fn candidate(kind: Lesion, (lo, mask): &([usize; 3], Array3<bool>)) -> Candidate<'_> {
    let voxels = mask.iter().filter(|&&on| on).count();
    Candidate { id: 1, kind, lo: *lo, mask, volume_cm3: 0.1 * voxels as f64 }
}

/// Reads classes off the first phase; or answers the same class everywhere.
struct Fake {
    spec: EngineSpec,
    always: Option<usize>,
    poison: f32,
    calls: usize,
}

impl Fake {
    fn new(prepared: &Prepared, batch: usize) -> Fake {
        let spec = EngineSpec { batch, channels: 2, classes: 8, patch: prepared.patch_size() };
        Fake { spec, always: None, poison: 0.0, calls: 0 }
    }

    fn always(prepared: &Prepared, class: usize) -> Fake {
        Fake { always: Some(class), ..Fake::new(prepared, 2) }
    }
}

impl Engine for Fake {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn infer(
        &mut self,
        patches: ArrayView5<'_, f32>,
        mut logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        self.calls += 1;
        logits.fill(self.poison);
        for ((b, z, y, x), &value) in patches.index_axis(Axis(1), 0).indexed_iter() {
            let seen = match value {
                v if v > 10.0 => (v - 10.0) as usize,
                v if v > 0.0 => 7,
                _ => 0,
            };
            logits[[b, self.always.unwrap_or(seen), z, y, x]] += 1.0;
        }
        Ok(())
    }
}

fn seed() -> Seed {
    study_seed("study", "engine", 1)
}

fn judge(
    prepared: &Prepared,
    candidates: &[Candidate<'_>],
    engine: &mut Fake,
    params: &Params,
) -> Vec<Reclassified> {
    let watch = &mut |_, _| ControlFlow::Continue(());
    reclassify(prepared, candidates, engine, params, seed(), &mut Cache::default(), watch).unwrap()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn a_perfect_network_scores_the_whole_volume() {
    let mut case = Case::liver([12, 24, 24], 1);
    let mask = case.lesion([4, 8, 8], [2, 3, 4], 3);
    let prepared = case.prepare();
    let found = judge(
        &prepared,
        &[candidate(Lesion::Meta, &mask)],
        &mut Fake::new(&prepared, 2),
        &Params::default(),
    );
    let one = &found[0];
    assert!(one.kept && one.why == Why::Kept && one.patches_run == 8);
    assert!(one.patch_volumes_cm3.iter().all(|&volume| close(volume, 2.4)), "{one:?}");
    assert!(close(one.score_cm3.unwrap(), 2.4) && close(one.ratio.unwrap(), 1.0));
    assert!(close(one.score_std_cm3.unwrap(), 0.0) && close(one.votes_cm3[2], 8.0 * 2.4));
}

#[test]
fn a_blind_network_discards_and_stops_early() {
    let mut case = Case::liver([12, 24, 24], 1);
    let mask = case.lesion([4, 8, 8], [1, 2, 3], 3);
    let prepared = case.prepare();
    let found = judge(
        &prepared,
        &[candidate(Lesion::Meta, &mask)],
        &mut Fake::always(&prepared, 7),
        &Params::default(),
    );
    // 0.6 cm3: after two empty patches of eight the mean is at most 0.45.
    assert_eq!((found[0].kept, found[0].why, found[0].patches_run), (false, Why::LowScore, 2));
    assert_eq!((found[0].score_cm3, found[0].label_after), (Some(0.0), Lesion::Meta));
}

#[test]
fn half_a_lesion_scores_half_its_volume_and_the_vote_renames_it() {
    let mut case = Case::liver([12, 24, 24], 1);
    let mask = case.lesion([4, 8, 8], [2, 3, 4], 3);
    case.values.slice_mut(s![4..6, 8..11, 8..9]).fill(value_of(6));
    case.values.slice_mut(s![4..6, 8..11, 10..12]).fill(UNSEEN);
    let prepared = case.prepare();
    let found = judge(
        &prepared,
        &[candidate(Lesion::Hcc, &mask)],
        &mut Fake::new(&prepared, 3),
        &Params::default(),
    );
    assert!(found[0].kept && close(found[0].score_cm3.unwrap(), 1.2));
    assert!(close(found[0].votes_cm3[2], 8.0 * 0.6) && close(found[0].votes_cm3[5], 8.0 * 0.6));
    // Meta and cyst tie, HCC has no vote: the more urgent of the tied.
    assert_eq!((found[0].label_before, found[0].label_after), (Lesion::Hcc, Lesion::Meta));
    let kept = judge(
        &prepared,
        &[candidate(Lesion::Cyst, &mask)],
        &mut Fake::new(&prepared, 3),
        &Params::default(),
    );
    assert_eq!(kept[0].label_after, Lesion::Cyst);
}

#[test]
fn the_threshold_is_half_a_cubic_centimetre_of_mean_overlap() {
    let mut case = Case::liver([12, 24, 24], 1);
    let mask = case.lesion([4, 8, 8], [1, 2, 4], 3);
    let mut kept_with = |seen: usize| {
        case.values.slice_mut(s![4, 8..10, 8..12]).fill(UNSEEN);
        for n in 0..seen {
            case.values[[4, 8 + n / 4, 8 + n % 4]] = value_of(3);
        }
        let prepared = case.prepare();
        let engine = &mut Fake::new(&prepared, 8);
        judge(&prepared, &[candidate(Lesion::Meta, &mask)], engine, &Params::default())[0].kept
    };
    assert!(!kept_with(4) && kept_with(5) && kept_with(6));
}

#[test]
fn large_and_small_lesions_never_reach_the_network() {
    let case = Case::liver([12, 24, 24], 1);
    let prepared = case.prepare();
    let (small, large) = (
        ([4, 8, 8], Array3::from_elem((1, 1, 4), true)),
        ([2, 2, 2], Array3::from_elem((7, 10, 10), true)),
    );
    let candidates = [candidate(Lesion::Hcc, &small), candidate(Lesion::Cyst, &large)];
    let mut engine = Fake::new(&prepared, 2);
    let found = judge(&prepared, &candidates, &mut engine, &Params::default());
    assert_eq!(engine.calls, 0);
    assert_eq!((found[0].kept, found[0].why), (false, Why::TooSmall));
    assert_eq!((found[1].kept, found[1].why, found[1].score_cm3), (true, Why::Bypassed, None));
    assert_eq!(found[1].label_after, Lesion::Cyst);
}

#[test]
fn batch_early_stop_cache_and_order_change_nothing_but_the_work() {
    let mut case = Case::liver([12, 30, 30], 1);
    let masks = [
        case.lesion([3, 5, 5], [2, 3, 4], 3),
        case.lesion([7, 20, 18], [1, 2, 3], 1),
        case.lesion([5, 10, 20], [2, 2, 2], 6),
    ];
    case.values.slice_mut(s![7, 20..22, 18..20]).fill(UNSEEN);
    let prepared = case.prepare();
    let candidates: Vec<Candidate<'_>> = masks.iter().map(|m| candidate(Lesion::Meta, m)).collect();
    let base = judge(
        &prepared,
        &candidates,
        &mut Fake::new(&prepared, 1),
        &Params { early_stop: false, ..Params::default() },
    );
    assert_eq!(base.iter().map(|one| one.kept).collect::<Vec<_>>(), [true, false, true]);
    for batch in [2, 3, 5, 16] {
        let params = Params { early_stop: false, ..Params::default() };
        assert_eq!(judge(&prepared, &candidates, &mut Fake::new(&prepared, batch), &params), base);
    }
    let stopped = judge(&prepared, &candidates, &mut Fake::new(&prepared, 1), &Params::default());
    for (a, b) in stopped.iter().zip(&base) {
        assert_eq!((a.kept, a.why, a.label_after), (b.kept, b.why, b.label_after));
    }
    assert!(stopped[1].patches_run < 8);
    let mut turned = candidates.clone();
    turned.reverse();
    let mut reversed = judge(&prepared, &turned, &mut Fake::new(&prepared, 1), &Params::default());
    reversed.reverse();
    assert_eq!(reversed, stopped);
}

#[test]
fn identical_masks_share_their_answers_whatever_id_and_type() {
    let mut case = Case::liver([12, 24, 24], 1);
    let mask = case.lesion([4, 8, 8], [2, 3, 4], 3);
    let prepared = case.prepare();
    let mut engine = Fake::new(&prepared, 4);
    let mut cache = Cache::default();
    let mut steps = Vec::new();
    let mut run = |one: Candidate<'_>, engine: &mut Fake, params: &Params, cache: &mut Cache| {
        let watch = &mut |done, total| {
            steps.push((done, total));
            ControlFlow::Continue(())
        };
        reclassify(&prepared, &[one], engine, params, seed(), cache, watch).unwrap().remove(0)
    };
    let low = run(candidate(Lesion::Meta, &mask), &mut engine, &Params::default(), &mut cache);
    let calls = engine.calls;
    let other = Candidate { id: 9, ..candidate(Lesion::Cyst, &mask) };
    let high = run(other, &mut engine, &Params::default(), &mut cache);
    assert_eq!((engine.calls, cache.hits()), (calls, 1));
    let expected = Reclassified { id: 9, label_before: Lesion::Cyst, ..low };
    assert_eq!(high, expected);
    let original = Params { schemes: Schemes::OriginalOnly, ..Params::default() };
    run(other, &mut engine, &original, &mut cache);
    assert!(engine.calls > calls);
    assert_eq!(steps.last(), Some(&(8, 8)));
}

#[test]
fn failures_are_named() {
    let mut case = Case::liver([12, 24, 24], 1);
    let mask = case.lesion([4, 8, 8], [2, 3, 4], 3);
    let prepared = case.prepare();
    let fail = |mut engine: Fake, params: Params, go: ControlFlow<()>| {
        let candidates = [candidate(Lesion::Meta, &mask)];
        let watch = &mut |_, _| go;
        reclassify(
            &prepared,
            &candidates,
            &mut engine,
            &params,
            seed(),
            &mut Cache::default(),
            watch,
        )
        .unwrap_err()
    };
    let go = ControlFlow::Continue(());
    let nan = Fake { poison: f32::NAN, ..Fake::new(&prepared, 2) };
    assert!(matches!(fail(nan, Params::default(), go), ReclassifyError::NotFinite(1)));
    let mut narrow = Fake::new(&prepared, 2);
    narrow.spec.channels = 1;
    assert!(matches!(fail(narrow, Params::default(), go), ReclassifyError::Shape(_)));
    let none = Params { patches: 0, ..Params::default() };
    assert!(matches!(fail(Fake::new(&prepared, 2), none, go), ReclassifyError::Params(_)));
    let stop = fail(Fake::new(&prepared, 2), Params::default(), ControlFlow::Break(()));
    assert!(matches!(stop, ReclassifyError::Stopped));
}

#[test]
fn on_a_coarser_grid_full_overlap_is_still_the_lesions_volume() {
    let mut case = Case::liver([12, 24, 24], 1);
    case.spacing_mm = [1.0, 1.7, 2.3];
    let mask = case.lesion([4, 8, 8], [2, 5, 7], 3);
    let prepared = case.prepare();
    let found = judge(
        &prepared,
        &[candidate(Lesion::Meta, &mask)],
        &mut Fake::always(&prepared, 3),
        &Params { schemes: Schemes::OriginalOnly, ..Params::default() },
    );
    assert!(close(found[0].score_cm3.unwrap(), 7.0) && found[0].kept, "{found:?}");
    let fov = |grid: &Grid| {
        (0..3).map(|a| grid.shape()[a] as f64 * grid.spacing_mm()[a]).collect::<Vec<_>>()
    };
    assert_eq!(prepared.grid().shape(), [12, 14, 10]);
    assert!(fov(prepared.grid()).iter().zip([12.0, 24.0, 24.0]).all(|(a, b)| close(*a, b)));
}

#[test]
fn a_lesion_outside_the_liver_is_discarded_unseen() {
    let mut case = Case::liver([12, 24, 24], 5);
    let mask = case.lesion([0, 0, 0], [2, 3, 4], 3);
    let prepared = case.prepare();
    let mut engine = Fake::always(&prepared, 3);
    let found =
        judge(&prepared, &[candidate(Lesion::Meta, &mask)], &mut engine, &Params::default());
    assert_eq!((found[0].why, found[0].patches_run, engine.calls), (Why::LowScore, 0, 0));
}

#[test]
fn odd_shapes_do_not_panic() {
    let mut bare = Case::liver([6, 10, 10], 1);
    bare.labels.fill(0);
    let mut full = Case::liver([6, 10, 10], 1);
    full.lesion([1, 1, 1], [4, 8, 8], 2);
    let mut huge = Case::liver([12, 24, 24], 1);
    huge.lesion([1, 1, 1], [9, 20, 20], 5);
    let mut tiny = Case::liver([3, 3, 3], 1);
    tiny.patch = [8, 16, 16];
    let mut coarse = Case::liver([6, 10, 10], 1);
    coarse.spacing_mm = [50.0; 3];
    for case in [&bare, &full, &huge, &tiny, &coarse] {
        let prepared = case.prepare();
        let shape = [case.labels.dim().0, case.labels.dim().1, case.labels.dim().2];
        for mask in [
            ([1, 1, 1], Array3::from_elem((1, 1, 1), true)),
            ([0; 3], Array3::from_elem(shape, true)),
        ] {
            let one = Candidate { volume_cm3: 1.0, ..candidate(Lesion::Icc, &mask) };
            for scheme in Scheme::ALL {
                let lesion = Carried::of(&one, &prepared);
                let mut generator = patch_generator(seed(), [0; 32], scheme, 0);
                sound(&prepared, &lesion, &draw(&prepared, &lesion, 2, scheme, &mut generator));
            }
            judge(&prepared, &[one], &mut Fake::new(&prepared, 2), &Params::default());
        }
    }
}

/// What holds for every patch of every scheme.
fn sound(prepared: &Prepared, lesion: &Carried, patch: &Patch) {
    for ((z, y, x), &truth) in patch.truth.indexed_iter() {
        let at = [z, y, x];
        let place = |shift: [isize; 3]| -> [isize; 3] {
            std::array::from_fn(|a| at[a] as isize + patch.origin[a] - shift[a])
        };
        let values: Vec<f32> = patch.images.slice(s![.., z, y, x]).to_vec();
        if truth == 0 {
            assert!(values.iter().all(|&v| v == 0.0), "a value outside R at {at:?}");
        }
        if patch.carried[at] {
            match patch.scheme {
                Scheme::ShuffledNegative => assert!(truth == 0 || truth == LIVER_CLASS),
                _ => {
                    assert!(truth != 0, "carried outside R");
                    let source = place(patch.shift);
                    assert!(lesion.points.contains(&source));
                    let [sz, sy, sx] = source.map(|n| n as usize);
                    let expected = prepared.images().slice(s![.., sz, sy, sx]).to_vec();
                    assert_eq!(values, expected, "one shift for all phases");
                }
            }
        } else if truth != 0 {
            let [gz, gy, gx] = place([0; 3]).map(|n| n as usize);
            assert_eq!(values, prepared.images().slice(s![.., gz, gy, gx]).to_vec());
            assert_eq!(truth, prepared.region().truth()[[gz, gy, gx]]);
        }
    }
    let lesions = patch.truth.iter().filter(|&&t| (1..=6).contains(&t)).count();
    let carried = patch.carried.iter().filter(|&&on| on).count();
    match patch.scheme {
        Scheme::OriginalNegative => assert_eq!((lesions, carried), (0, 0)),
        Scheme::ShuffledPositive => assert_eq!(lesions, carried),
        Scheme::OriginalPositive | Scheme::ShuffledNegative => {
            let size = prepared.patch_size();
            if (0..3).all(|a| lesion.hi[a] - lesion.lo[a] <= size[a] as isize) {
                assert_eq!(carried, lesion.points.len());
            }
            assert!(lesion.points.is_empty() || carried > 0);
        }
    }
}

#[test]
fn in_a_roomy_liver_every_transplant_fits_and_every_removal_is_covered() {
    let mut case = Case::liver([14, 40, 40], 1);
    let mask = case.lesion([4, 8, 8], [2, 4, 4], 3);
    let prepared = case.prepare();
    let lesion = Carried::of(&candidate(Lesion::Meta, &mask), &prepared);
    for index in 0..40 {
        let make = |scheme| {
            let mut generator = patch_generator(seed(), lesion.fingerprint, scheme, index);
            draw(&prepared, &lesion, 3, scheme, &mut generator)
        };
        let moved = make(Scheme::ShuffledPositive);
        let carried = moved.carried.iter().filter(|&&on| on).count();
        assert!(carried * 100 >= 95 * lesion.points.len(), "{carried}");
        assert_ne!(moved.shift, [0; 3]);
        let covered = make(Scheme::ShuffledNegative);
        let healed =
            covered.truth.iter().zip(&covered.carried).filter(|(t, on)| **on && **t == LIVER_CLASS);
        assert_eq!(healed.count(), lesion.points.len());
        assert_eq!(make(Scheme::ShuffledPositive), moved, "a second run is bit-identical");
    }
}

#[test]
fn a_false_positive_is_carried_as_liver() {
    let mut case = Case::liver([14, 40, 40], 1);
    let mask = case.lesion([4, 8, 8], [2, 4, 4], 3);
    let prepared = case.prepare();
    let lesion = Carried::of(&candidate(Lesion::Meta, &mask), &prepared);
    let mut generator = patch_generator(seed(), lesion.fingerprint, Scheme::ShuffledPositive, 0);
    let patch = draw(&prepared, &lesion, LIVER_CLASS, Scheme::ShuffledPositive, &mut generator);
    assert!(patch.truth.iter().all(|&truth| truth == 0 || truth == LIVER_CLASS));
    assert!(patch.carried.iter().any(|&on| on));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_patch_is_sound(
        organ in proptest::collection::vec(0..12u8, 6 * 9 * 9),
        lo in (0..5usize, 0..8usize, 0..8usize),
        size in (1..6usize, 1..7usize, 1..7usize),
        index in 0..100u32,
    ) {
        let mut case = Case::liver([6, 9, 9], 0);
        case.patch = [3, 5, 6];
        // Mostly liver, with vessels, lesions and gaps.
        for (label, &draw) in case.labels.iter_mut().zip(&organ) {
            *label = [0, 3, 9][..].get(usize::from(draw)).copied().unwrap_or(7);
        }
        let hi = [(lo.0 + size.0).min(6), (lo.1 + size.1).min(9), (lo.2 + size.2).min(9)];
        let mask = case.lesion([lo.0, lo.1, lo.2], [hi[0] - lo.0, hi[1] - lo.1, hi[2] - lo.2], 4);
        let prepared = case.prepare();
        let lesion = Carried::of(&candidate(Lesion::Hem, &mask), &prepared);
        for scheme in Scheme::ALL {
            let mut generator = patch_generator(seed(), lesion.fingerprint, scheme, index);
            sound(&prepared, &lesion, &draw(&prepared, &lesion, 4, scheme, &mut generator));
        }
    }
}
