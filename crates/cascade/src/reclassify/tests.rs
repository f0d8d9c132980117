//! Tiny livers and networks whose answers are known.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use ndarray::{Array3, ArrayView5, ArrayViewMut5, Axis, s};

use super::*;
use hepalert_engines::{Engine, EngineSpec};
use hepalert_study::phase::Phase;
use hepalert_study::study::{AlignedStudy, Study, StudyKey};
use hepalert_voxels::image::normalise::Normalisation;
use hepalert_voxels::volume::{Grid, LabelMap, Volume};

mod patches;

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
        let (study, labels, sampling) = self.parts();
        Prepared::new(&study, &labels, &sampling).unwrap()
    }

    fn parts(&self) -> (AlignedStudy, LabelMap, Sampling) {
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
            orientation: None,
        };
        let labels: LabelMap = Volume::new(grid, self.labels.clone());
        (study, labels, sampling)
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
    study_seed([7; 32], "engine", 1)
}

fn judge(
    prepared: &Prepared,
    candidates: &[Candidate<'_>],
    engine: &mut Fake,
    params: &ReclassifyParams,
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
        &ReclassifyParams::default(),
    );
    let one = &found[0];
    assert!(one.kept && one.why == KeepReason::Kept && one.patches_run == 8);
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
        &ReclassifyParams::default(),
    );
    // 0.6 cm3: after two empty patches of eight the mean is at most 0.45.
    assert_eq!(
        (found[0].kept, found[0].why, found[0].patches_run),
        (false, KeepReason::LowScore, 2)
    );
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
        &ReclassifyParams::default(),
    );
    assert!(found[0].kept && close(found[0].score_cm3.unwrap(), 1.2));
    assert!(close(found[0].votes_cm3[2], 8.0 * 0.6) && close(found[0].votes_cm3[5], 8.0 * 0.6));
    // Meta and cyst tie, HCC has no vote: the more urgent of the tied.
    assert_eq!((found[0].label_before, found[0].label_after), (Lesion::Hcc, Lesion::Meta));
    let kept = judge(
        &prepared,
        &[candidate(Lesion::Cyst, &mask)],
        &mut Fake::new(&prepared, 3),
        &ReclassifyParams::default(),
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
        judge(&prepared, &[candidate(Lesion::Meta, &mask)], engine, &ReclassifyParams::default())[0]
            .kept
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
    let found = judge(&prepared, &candidates, &mut engine, &ReclassifyParams::default());
    assert_eq!(engine.calls, 0);
    assert_eq!((found[0].kept, found[0].why), (false, KeepReason::TooSmall));
    assert_eq!(
        (found[1].kept, found[1].why, found[1].score_cm3),
        (true, KeepReason::Bypassed, None)
    );
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
        &ReclassifyParams { early_stop: false, ..ReclassifyParams::default() },
    );
    assert_eq!(base.iter().map(|one| one.kept).collect::<Vec<_>>(), [true, false, true]);
    for batch in [2, 3, 5, 16] {
        let params = ReclassifyParams { early_stop: false, ..ReclassifyParams::default() };
        assert_eq!(judge(&prepared, &candidates, &mut Fake::new(&prepared, batch), &params), base);
    }
    let stopped =
        judge(&prepared, &candidates, &mut Fake::new(&prepared, 1), &ReclassifyParams::default());
    for (a, b) in stopped.iter().zip(&base) {
        assert_eq!((a.kept, a.why, a.label_after), (b.kept, b.why, b.label_after));
    }
    assert!(stopped[1].patches_run < 8);
    // A call of several patches may run more of them; what it says of a lesion is the same.
    for batch in [2, 3, 5, 16] {
        let found = judge(
            &prepared,
            &candidates,
            &mut Fake::new(&prepared, batch),
            &ReclassifyParams::default(),
        );
        assert_eq!(found, stopped, "{batch}");
    }
    let mut turned = candidates.clone();
    turned.reverse();
    let mut reversed =
        judge(&prepared, &turned, &mut Fake::new(&prepared, 1), &ReclassifyParams::default());
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
    let mut run =
        |one: Candidate<'_>, engine: &mut Fake, params: &ReclassifyParams, cache: &mut Cache| {
            let watch = &mut |done, total| {
                steps.push((done, total));
                ControlFlow::Continue(())
            };
            reclassify(&prepared, &[one], engine, params, seed(), cache, watch).unwrap().remove(0)
        };
    let low =
        run(candidate(Lesion::Meta, &mask), &mut engine, &ReclassifyParams::default(), &mut cache);
    let calls = engine.calls;
    let other = Candidate { id: 9, ..candidate(Lesion::Cyst, &mask) };
    let high = run(other, &mut engine, &ReclassifyParams::default(), &mut cache);
    assert_eq!((engine.calls, cache.hits()), (calls, 1));
    let expected = Reclassified { id: 9, label_before: Lesion::Cyst, ..low };
    assert_eq!(high, expected);
    let original =
        ReclassifyParams { schemes: Schemes::OriginalOnly, ..ReclassifyParams::default() };
    run(other, &mut engine, &original, &mut cache);
    assert!(engine.calls > calls);
    assert_eq!(steps.last(), Some(&(8, 8)));
}

#[test]
fn failures_are_named() {
    let mut case = Case::liver([12, 24, 24], 1);
    let mask = case.lesion([4, 8, 8], [2, 3, 4], 3);
    let prepared = case.prepare();
    let fail = |mut engine: Fake, params: ReclassifyParams, go: ControlFlow<()>| {
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
    assert!(matches!(fail(nan, ReclassifyParams::default(), go), ReclassifyError::NotFinite(1)));
    let mut narrow = Fake::new(&prepared, 2);
    narrow.spec.channels = 1;
    assert!(matches!(fail(narrow, ReclassifyParams::default(), go), ReclassifyError::Shape(_)));
    let none = ReclassifyParams { patches: 0, ..ReclassifyParams::default() };
    assert!(matches!(fail(Fake::new(&prepared, 2), none, go), ReclassifyError::Params(_)));
    let stop = fail(Fake::new(&prepared, 2), ReclassifyParams::default(), ControlFlow::Break(()));
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
        &ReclassifyParams { schemes: Schemes::OriginalOnly, ..ReclassifyParams::default() },
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
    let found = judge(
        &prepared,
        &[candidate(Lesion::Meta, &mask)],
        &mut engine,
        &ReclassifyParams::default(),
    );
    assert_eq!((found[0].why, found[0].patches_run, engine.calls), (KeepReason::LowScore, 0, 0));
}
