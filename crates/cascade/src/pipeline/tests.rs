//! The order in which voxels are stored decides nothing: one study in all 48 orders and
//! directions of its axes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use ndarray::{Array3, s};

use super::*;
use crate::reclassify::{content, study_seed};
use hepalert_bundles::{BundleFile, Decision, Fusion, Golden, Reader, Resampling, Sums};
use hepalert_engines::fake::Formula;
use hepalert_engines::{Engine, EngineSpec};
use hepalert_study::anatomy;
use hepalert_study::phase::Phase;
use hepalert_study::study::{Back, Study, StudyKey};
use hepalert_voxels::image::normalise::Normalisation;
use hepalert_voxels::volume::{Axes, Grid, Orientation, Volume};

const PATCH: [usize; 3] = [4, 8, 8];

fn network(classes: usize) -> NetworkPlan {
    let file = || BundleFile::new("none", &"0".repeat(64), 0).unwrap();
    NetworkPlan {
        files: vec![file()],
        reader: Reader::Stated(Orientation::LPS),
        classes: anatomy::class_names()[..classes].iter().map(|&name| name.to_owned()).collect(),
        channels: 1,
        patch: PATCH,
        spacing_mm: [5.0, 1.6, 1.6],
        transpose_forward: [0, 1, 2],
        normalisation: vec![Normalisation::None],
        resampling: Resampling::Default,
        resampling_logits: Resampling::Default,
        mirror_axes: vec![],
        tile_step: 0.5,
        fusion: Fusion::Logits,
        sums: Sums::F16,
        decision: Decision::Argmax,
        postprocessing: vec![],
        mask_value: 0.0,
        golden: Golden { input: file(), expected: vec![file()], stride: [1, 1, 1] },
    }
}

/// A network that knows its place in the patch, as a trained one does: what it says hangs on
/// which way the axes run.
fn engine(classes: usize, batch: usize) -> Box<dyn Engine> {
    let spec = EngineSpec { batch, channels: 1, classes, patch: PATCH };
    Box::new(Formula(spec, |patches: &ndarray::ArrayView5<'_, f32>, (b, class, z, y, x)| {
        let here = patches[[b, 0, z, y, x]];
        let beside = patches[[b, 0, z, y, (x + 1).min(PATCH[2] - 1)]];
        let tilt = 0.02 * x as f32 - 0.01 * y as f32 + 0.03 * z as f32;
        match class {
            0 => 40.0 - here,
            3 => here - 110.0 + tilt + 0.1 * (beside - here),
            6 => 30.0 - (here - 20.0).abs(),
            7 => 45.0 - (here - 90.0).abs() + tilt,
            _ => -80.0,
        }
    }))
}

/// A liver with two bright lesions, a dark one, and grain everywhere.
fn plain() -> Volume<f32> {
    let shape = [9, 22, 26];
    let mut voxels = Array3::from_elem(shape, -900.0);
    voxels.slice_mut(s![1..8, 2..20, 3..22]).fill(90.0);
    voxels.slice_mut(s![2..5, 4..9, 5..12]).fill(170.0);
    voxels.slice_mut(s![4..7, 13..17, 8..12]).fill(160.0);
    voxels.slice_mut(s![2..6, 12..17, 15..19]).fill(20.0);
    for ((z, y, x), value) in voxels.indexed_iter_mut() {
        *value += ((31 * z + 17 * y + 7 * x) % 11) as f32;
    }
    let affine = [[-0.8, 0.0, 0.0, 9.0], [0.0, -0.8, 0.0, 4.0], [0.0, 0.0, 5.0, -30.0]];
    Volume::new(Arc::new(Grid::new(shape, [5.0, 0.8, 0.8], affine)), voxels)
}

fn analysed(stored: Volume<f32>, key: &str, reader: Reader) -> (Findings, Back, [u8; 32]) {
    let key = StudyKey::new(&key.repeat(32)).unwrap();
    let study = Study { key, phases: BTreeMap::from([(Phase::Vp, stored)]) };
    let study = AlignedStudy::from_study(study, &[Phase::Vp]).unwrap();
    let (study, back) = study.brought_into(reader.orientation());
    let content = content(&study);
    let plan = NetworkPlan { reader, ..network(14) };
    let segment_plan = segment::Plan {
        network: plan,
        batch: 1,
        air: segment::AirTiles::RunAll,
        memory_budget_bytes: 1 << 30,
    };
    let (mut first, mut second) = (vec![engine(14, 1)], engine(8, 2));
    let second_plan = network(8);
    let networks = Networks {
        segment_plan: &segment_plan,
        segment: &mut first,
        reclassify: Some((&second_plan, second.as_mut())),
    };
    let params = CascadeParams {
        base_gain: LesionGain(1.0),
        high_gain: LesionGain(20.0),
        reclassify: reclassify::ReclassifyParams {
            discard_below_cm3: 0.02,
            ..reclassify::ReclassifyParams::default()
        },
        seed: study_seed(content, "engine", 0),
    };
    let findings =
        analyze(&study, networks, &params, &mut |_, _, _| ControlFlow::Continue(())).unwrap();
    (findings, back, content)
}

fn words(finding: &Finding) -> String {
    let Finding { detection, measured, judged, pieces, view } = finding;
    let judged = judged.as_ref().map(|one| (one.score_cm3, one.votes_cm3, one.label_after));
    let place = measured.centre_ras_mm.map(|mm| (mm * 1e6).round());
    format!("{detection:?} {place:?} {:?} {judged:?} {view:?} {}", measured.hu, pieces.len())
}

#[test]
fn all_48_orders_of_storage_give_the_same_lesions_to_the_voxel() {
    let stated = Reader::Stated(Orientation::LPS);
    let (expected, _, content) = analysed(plain(), "0", stated);
    assert!(expected.kept.len() >= 3, "{}", expected.kept.len());
    assert!(
        expected
            .kept
            .iter()
            .any(|one| { one.judged.as_ref().is_some_and(|judged| judged.score_cm3.is_some()) })
    );
    let lesions: Vec<String> = expected.kept.iter().map(words).collect();
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut stored_differs = false;
    for from in orders {
        for bits in 0..8 {
            let axes = Axes { from, reversed: [0, 1, 2].map(|axis| bits >> axis & 1 == 1) };
            let (found, back, seen) = analysed(axes.turn_volume(plain()), "f", stated);
            assert_eq!(seen, content);
            assert_eq!(found.kept.iter().map(words).collect::<Vec<_>>(), lesions, "{axes:?}");
            assert_eq!(found.verdict, expected.verdict);
            let labels = back.volume(found.labels_high.clone());
            let wanted = axes.turn_volume(expected.labels_high.clone());
            assert_eq!(labels.voxels(), wanted.voxels(), "back in the input's geometry");
            assert!(labels.grid().matches(wanted.grid()));
        }
    }
    // The network of this test does look at the order: without a stated orientation it shows.
    for reversed in [[false, true, true], [true, false, false]] {
        let axes = Axes { from: [0, 1, 2], reversed };
        let (found, ..) = analysed(axes.turn_volume(plain()), "f", Reader::SimpleItk);
        let turned = axes.turn_volume(expected.labels_high.clone());
        stored_differs |= found.labels_high.voxels() != turned.voxels();
    }
    assert!(stored_differs);
}
