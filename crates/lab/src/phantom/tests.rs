//! What holds for every phantom.

use std::collections::BTreeMap;

use super::*;
use hepalert_study::anatomy::{Organ, is_lesion};

fn small(seed: u64, case: Case) -> Patient {
    generate(seed, case, Setting::Venous, Size::SMALL)
}

fn voxels(patient: &Patient) -> &Array3<i16> {
    patient.phases[0].1.voxels()
}

/// Mean Hounsfield units over each label of the truth, voxels at its edge left out.
fn means(patient: &Patient) -> BTreeMap<u8, f64> {
    let (truth, hu) = (patient.truth.voxels(), voxels(patient));
    let mut sums: BTreeMap<u8, (f64, f64)> = BTreeMap::new();
    for ((z, y, x), label) in truth.indexed_iter() {
        let inner = |dy: usize, dx: usize| truth.get([z, y + dy - 1, x + dx - 1]) == Some(label);
        let edge = y == 0 || x == 0 || !(0..3).all(|dy| (0..3).all(|dx| inner(dy, dx)));
        if !edge {
            let sum = sums.entry(*label).or_default();
            *sum = (sum.0 + f64::from(hu[[z, y, x]]), sum.1 + 1.0);
        }
    }
    sums.into_iter().map(|(label, (sum, count))| (label, sum / count)).collect()
}

#[test]
fn the_same_seed_gives_the_same_voxels() {
    let [one, two, other] = [7, 7, 8].map(|seed| small(seed, Case::Malignant));
    assert_eq!(voxels(&one), voxels(&two));
    assert_eq!(one.truth.voxels(), two.truth.voxels());
    assert_eq!(one.lesions, two.lesions);
    let differing = voxels(&one).iter().zip(voxels(&other)).filter(|(a, b)| a != b).count();
    assert!(differing > voxels(&one).len() / 2, "{differing} voxels differ");
    assert_ne!(one.truth.voxels(), other.truth.voxels());
}

/// The oracle of where lesions may lie is the same patient without any.
#[test]
fn lesions_replace_liver_and_nothing_else() {
    for seed in 0..3 {
        let (normal, ill) = (small(seed, Case::Normal), small(seed, Case::Malignant));
        for (healthy, found) in normal.truth.voxels().iter().zip(ill.truth.voxels()) {
            assert!(*found <= Organ::Stomach.label());
            if is_lesion(*found) {
                assert!((7..=9).contains(healthy), "a lesion on label {healthy}");
            } else {
                assert_eq!(found, healthy);
            }
        }
    }
}

#[test]
fn a_case_has_the_lesions_it_promises() {
    for seed in 0..6 {
        assert!(small(seed, Case::Normal).lesions.is_empty());
        let benign = small(seed, Case::Benign);
        assert!(!benign.lesions.is_empty());
        assert!(benign.lesions.iter().all(|lesion| !lesion.kind.is_malignant()));
        let ill = small(seed, Case::Malignant);
        let evident = |l: &LesionTruth| l.kind.is_malignant() && l.volume_cm3 >= 1.0;
        assert!(ill.lesions.iter().any(evident), "seed {seed}: {:?}", ill.lesions);
    }
}

#[test]
fn the_list_of_lesions_agrees_with_the_label_map() {
    let patient = small(5, Case::Malignant);
    let mut listed = BTreeMap::new();
    for lesion in &patient.lesions {
        *listed.entry(lesion.kind.label()).or_insert(0) += lesion.voxels;
        let volume = lesion.voxels as f64 * patient.truth.grid().voxel_cm3();
        assert!((lesion.volume_cm3 - volume).abs() < 1e-9);
    }
    let mut drawn = BTreeMap::new();
    for label in patient.truth.voxels().iter().filter(|label| is_lesion(**label)) {
        *drawn.entry(*label).or_insert(0) += 1;
    }
    assert_eq!(listed, drawn);
}

#[test]
fn organs_have_plausible_size_and_density() {
    for seed in 0..4 {
        let patient = small(seed, Case::Normal);
        let count = |organ: Organ| {
            let has = |label: &&u8| **label == organ.label();
            patient.truth.voxels().iter().filter(has).count() as f64
                * patient.truth.grid().voxel_cm3()
        };
        let (liver, spleen) = (count(Organ::Liver), count(Organ::Spleen));
        assert!((900.0..2900.0).contains(&liver), "seed {seed}: liver {liver} cm3");
        assert!((60.0..700.0).contains(&spleen), "seed {seed}: spleen {spleen} cm3");
        let mean = means(&patient);
        let (liver, spleen) = (mean[&Organ::Liver.label()], mean[&Organ::Spleen.label()]);
        assert!((55.0..135.0).contains(&liver), "seed {seed}: liver {liver} HU");
        assert!((85.0..150.0).contains(&spleen), "seed {seed}: spleen {spleen} HU");
        assert!(mean[&Organ::PortalVein.label()] > liver, "seed {seed}");
        if let Some(bile) = mean.get(&Organ::Gallbladder.label()) {
            assert!((-15.0..45.0).contains(bile), "seed {seed}: bile {bile} HU");
        }
    }
}

#[test]
fn without_contrast_blood_is_as_dark_as_muscle() {
    let native = generate(2, Case::Normal, Setting::Screening, Size::SMALL);
    assert_eq!(native.phases[0].0, Phase::Nc);
    let (mean, with) = (means(&native), means(&small(2, Case::Normal)));
    for organ in [Organ::Liver, Organ::Spleen] {
        let [native, with] = [&mean, &with].map(|mean| mean[&organ.label()]);
        assert!((15.0..70.0).contains(&native) && with > native + 20.0, "{organ:?} {native}");
    }
    assert_eq!(native.truth.voxels(), small(2, Case::Normal).truth.voxels());
}

#[test]
fn cysts_are_water_and_metastases_are_dark() {
    let mut seen = BTreeMap::new();
    for seed in [8, 10, 11, 21, 23, 24] {
        for case in [Case::Malignant, Case::Benign] {
            let patient = small(seed, case);
            let mean = means(&patient);
            let liver = mean[&Organ::Liver.label()];
            for kind in [Lesion::Cyst, Lesion::Meta, Lesion::Icc] {
                if let Some(hu) = mean.get(&kind.label()) {
                    seen.entry(kind).or_insert_with(Vec::new).push((*hu, hu - liver));
                }
            }
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen[&Lesion::Cyst].iter().all(|(hu, _)| (-15.0..45.0).contains(hu)), "{seen:?}");
    for kind in [Lesion::Meta, Lesion::Icc] {
        assert!(seen[&kind].iter().all(|(_, contrast)| *contrast < -5.0), "{kind}: {seen:?}");
    }
}

#[test]
fn values_fit_twelve_bits_and_the_grid_is_that_of_an_axial_scan() {
    let patient = small(1, Case::Benign);
    assert!(voxels(&patient).iter().all(|hu| (-1024..=3071).contains(hu)));
    let [x, y, z] = *patient.truth.grid().affine();
    assert!(x[0] < 0.0 && y[1] < 0.0 && z[2] > 0.0, "rows to the left, columns to the back");
    assert_eq!([x[1], x[2], y[0], y[2], z[0], z[1]], [0.0; 6]);
}

#[test]
fn every_case_comes_up_when_the_seed_decides() {
    let count = |case| (0..200).filter(|seed| Case::of_seed(*seed) == case).count();
    let [malignant, benign, normal] = [Case::Malignant, Case::Benign, Case::Normal].map(count);
    assert_eq!(malignant + benign + normal, 200);
    assert!(malignant > 70 && benign > 25 && normal > 25, "{malignant} {benign} {normal}");
}

#[test]
fn a_large_malignant_lesion_always_finds_a_place() {
    for seed in 1000..1040 {
        let scene = Scene::new(seed, Case::Malignant, Size::SMALL);
        let first = scene.lesions.first().map(|lesion| (lesion.kind, lesion.radii_mm()));
        let large = |(kind, radii): (Lesion, [f64; 3])| {
            // 4/3 pi 6.3 mm cubed is 1 cm3; lobes and the grid take some.
            kind.is_malignant() && radii.iter().product::<f64>().cbrt() > 8.0
        };
        assert!(first.is_some_and(large), "seed {seed}: {first:?}");
    }
}

/// Share of the liver's and spleen's voxels that differ by more than an edge does.
fn misplaced(reference: &Volume<i16>, moved: &Volume<i16>, truth: &LabelMap, at: At) -> f64 {
    let (mut organs, mut wrong) = (0, 0);
    for ((z, y, x), label) in truth.voxels().indexed_iter() {
        if ![Organ::Liver.label(), Organ::Spleen.label()].contains(label) {
            continue;
        }
        let grid = truth.grid();
        let here = grid.ras_mm([z, y, x].map(|index| index as f64));
        let way = at([z, y, x]);
        let there: [f64; 3] = std::array::from_fn(|axis| here[axis] + f64::from(way[axis]));
        // Axes are the patient's own: z, y, x of the array are z, y, x of space.
        let (zero, one) = (moved.grid().ras_mm([0.0; 3]), moved.grid().ras_mm([1.0; 3]));
        let along = |axis: usize| (there[axis] - zero[axis]) / (one[axis] - zero[axis]);
        let index = [2, 1, 0].map(|axis| along(axis).round().max(0.0) as usize);
        let Some(seen) = moved.voxels().get(index) else { continue };
        organs += 1;
        wrong += usize::from(reference.voxels()[[z, y, x]].abs_diff(*seen) > 60);
    }
    f64::from(wrong as u32) / f64::from(organs)
}

type At<'a> = &'a dyn Fn([usize; 3]) -> [f32; 3];

#[test]
fn phases_lie_where_the_true_field_says() {
    let (mut followed, mut left) = (0.0, 0.0);
    for seed in 0..2 {
        let size = Size { pixels: 128, slices: None };
        let still = generate(seed, Case::Normal, Setting::Diagnosis, size);
        let patient = generate_moving(seed, Case::Normal, Setting::Diagnosis, size);
        assert_eq!(patient.truth.voxels(), still.truth.voxels());
        let order: Vec<Phase> = patient.phases.iter().map(|(phase, _)| *phase).collect();
        assert_eq!(order, Phase::ALL);
        for (phase, field) in &patient.moved {
            let [still, moved] = [&still, &patient].map(|made| {
                &made.phases.iter().find(|(other, _)| other == phase).expect("all phases").1
            });
            let as_field = misplaced(still, moved, &patient.truth, &|at| field[at]);
            let as_nothing = misplaced(still, moved, &patient.truth, &|_| [0.0; 3]);
            assert!(as_field < 0.06, "seed {seed} {phase}: {as_field} against {as_nothing}");
            followed += as_field;
            left += as_nothing;
        }
    }
    // Thick native slices blur edges wherever they lie; the others would show a wrong field.
    assert!(
        followed < 0.5 * left,
        "{followed} of voxels misplaced along the field, {left} without"
    );
}
