//! Whole alignments of small phantoms with known truth, and what is refused.

use std::sync::Arc;

use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_register::align::{Alignment, AlignmentKind, Gate, RegisterError, Settings, align};
use hepalert_study::alignment::Doubt;
use hepalert_study::phase::Setting;
use hepalert_voxels::volume::{Grid, Volume};
use ndarray::Array3;

mod truth;

use truth::{ARTERIAL, Drawn, How, Pair, Source, mean};

fn phantom(seed: u64) -> Source {
    let size = Size { pixels: 128, slices: Some(60) };
    let patient = generate(seed, Case::Malignant, Setting::Venous, size);
    let volume = &patient.phases[0].1;
    let liver = patient.truth.voxels().mapv(|l| (1..=8).contains(&l));
    Source {
        volume: Volume::new(Arc::clone(volume.grid()), volume.voxels().mapv(f32::from)),
        liver,
    }
}

fn how(moving_slice_mm: f64) -> How {
    How {
        in_plane_mm: 3.0,
        fixed_slice_mm: 3.0,
        moving_slice_mm,
        most_mm: 15.0,
        knot_mm: 70.0,
        contrast: ARTERIAL,
        noise_hu: 7.0,
    }
}

/// Coarser than the product's, for two busy cores.
fn settings() -> Settings {
    Settings { spacing_mm: 3.0, ..Settings::default() }
}

fn one(fixed: &Volume<f32>, moving: &Volume<f32>) -> Result<Alignment, RegisterError> {
    Ok(align(fixed, &[moving], &settings())?.remove(0))
}

#[test]
fn the_liver_is_found_where_it_went_and_nothing_folds() {
    let source = phantom(5);
    for (slice, most) in [(3.0, 2.0), (6.0, 3.0)] {
        let pair = Pair::new(&source, &how(slice), 1);
        let found = one(&pair.fixed, &pair.moving).unwrap();
        let before = mean(&pair.errors_mm(|p| p));
        let after = mean(&pair.errors_mm(|p| found.map.at(p)));
        println!("{slice} mm: {before:.2} -> {after:.2} mm, {:?}", found.quality);
        assert_eq!(found.kind, AlignmentKind::Deformed);
        assert!(after <= most && after < 0.5 * before, "{slice} mm: {before:.2} -> {after:.2}");
        assert!(found.quality.jacobian.folding < 0.001);
        assert!(found.quality.bits_after < found.quality.bits_before);
    }
}

/// The fast part of `just registration-cases`.
#[test]
fn random_cases_are_never_worse_than_before() {
    let sources = [phantom(21), phantom(22)];
    let mut errors = Vec::new();
    for seed in 300..308 {
        let Drawn { source, phase, how } = Drawn::new(seed, sources.len(), &[3.0, 5.0, 10.0]);
        let how = How { in_plane_mm: 3.0, ..how };
        let pair = Pair::new(&sources[source], &how, seed);
        let found = one(&pair.fixed, &pair.moving).unwrap();
        let before = mean(&pair.errors_mm(|p| p));
        let after = mean(&pair.errors_mm(|p| found.map.at(p)));
        println!("{seed} {phase} {} mm: {before:.2} -> {after:.2} mm", how.moving_slice_mm);
        assert!(after <= before, "{seed} {phase}: {before:.2} -> {after:.2} mm");
        assert!(found.quality.jacobian.folding < 0.001, "{seed} {phase}: {:?}", found.quality);
        errors.push(after);
    }
    assert!(mean(&errors) < 2.0, "on cubes of 3 mm: {:.2}", mean(&errors));
}

/// Every reason of the gate, each with a limit that no deformation keeps.
#[test]
fn what_the_gate_refuses_is_turned_and_moved_only_or_given_up() {
    let source = phantom(9);
    let pair = Pair::new(&source, &how(3.0), 5);
    let with = |gate: Gate| {
        let settings = Settings { gate, ..settings() };
        align(&pair.fixed, &[&pair.moving], &settings).unwrap().remove(0)
    };
    let rigid = with(Gate { jacobian_deviation: 0.0, ..Gate::default() });
    assert_eq!(rigid.kind, AlignmentKind::Rigid(Doubt::UnevenVolumeChange));
    assert_eq!(
        with(Gate { folding: -1.0, ..Gate::default() }).kind,
        AlignmentKind::Rigid(Doubt::Folding)
    );
    assert_eq!(rigid.quality.jacobian.deviation, 0.0);
    assert!(rigid.quality.bits_after <= rigid.quality.bits_before);
    let apart = |a: [f64; 3], b: [f64; 3]| (0..3).map(|c| (a[c] - b[c]).powi(2)).sum::<f64>();
    let (a, b) = ([-100.0, -80.0, 60.0], [-40.0, -20.0, 160.0]);
    let moved = apart(rigid.map.at(a), rigid.map.at(b));
    assert!((moved - apart(a, b)).abs() < 1e-3 * moved, "distances stay as they are");
    let failed = with(Gate { distance_bits: 0.5, ..Gate::default() });
    assert_eq!(failed.kind, AlignmentKind::Failed(Doubt::TooDifferent));
    let little = with(Gate { coverage: 1.1, ..Gate::default() });
    assert_eq!(little.kind, AlignmentKind::Failed(Doubt::LittleOverlap));
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let source = phantom(6);
    let pair = Pair::new(&source, &how(6.0), 2);
    let bytes = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let found = one(&pair.fixed, &pair.moving).unwrap();
            let warped = found.map.warp(&pair.moving, pair.fixed.grid());
            warped.volume.voxels().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        })
    };
    let one = bytes(1);
    assert!(one == bytes(3) && one == bytes(8));
}

/// DICOM writes millimetres in decimals, NIfTI in single precision.
#[test]
fn the_digits_of_a_format_move_nothing() {
    let single = |volume: &Volume<f32>| {
        let to = |mm: f64| f64::from(mm as f32);
        let grid = volume.grid();
        let (spacing, affine) = (grid.spacing_mm().map(to), grid.affine().map(|row| row.map(to)));
        let grid = Grid::new(grid.shape(), spacing, affine);
        Volume::new(Arc::new(grid), volume.voxels().clone())
    };
    let decimals = How { in_plane_mm: 3.1, fixed_slice_mm: 3.3, ..how(5.7) };
    let pair = Pair::new(&phantom(6), &decimals, 2);
    let stored = (single(&pair.fixed), single(&pair.moving));
    assert!(stored.0.grid() != pair.fixed.grid(), "the two are not told apart");
    let ours = one(&pair.fixed, &pair.moving).unwrap();
    let theirs = one(&stored.0, &stored.1).unwrap();
    let point = [10.0, -20.0, 30.0];
    assert_eq!(ours.map.at(point), theirs.map.at(point));
    assert_eq!(ours.quality, theirs.quality);
}

#[test]
fn what_lies_there_already_is_left_alone_and_another_grid_only_resampled() {
    let source = phantom(7);
    let still = How { most_mm: 1e-6, ..how(6.0) };
    let pair = Pair::new(&source, &still, 3);
    let same = Pair::new(&source, &How { moving_slice_mm: 3.0, ..still }, 3);
    assert_eq!(one(&same.fixed, &same.moving).unwrap().kind, AlignmentKind::Untouched);
    let other = one(&pair.fixed, &pair.moving).unwrap();
    assert_eq!(other.kind, AlignmentKind::Resampled);
    assert!(mean(&pair.errors_mm(|p| other.map.at(p))) < 1e-3);
}

/// The moving image shows the upper half only: the rest is marked.
#[test]
fn what_was_not_scanned_is_marked() {
    let source = phantom(8);
    let pair = Pair::new(&source, &how(3.0), 4);
    let [depth, rows, columns] = pair.moving.grid().shape();
    let half = depth / 2;
    let origin = pair.moving.grid().ras_mm([half as f64, 0.0, 0.0]);
    let grid = Grid::axial([depth - half, rows, columns], pair.moving.grid().spacing_mm(), origin);
    let upper = pair.moving.voxels().slice(ndarray::s![half.., .., ..]).to_owned();
    let upper = Volume::new(Arc::new(grid), upper);
    let found = one(&pair.fixed, &upper).unwrap();
    assert!((0.35..0.65).contains(&found.quality.coverage), "{:?}", found.quality);
    let warped = found.map.warp(&upper, pair.fixed.grid());
    let seen = warped.seen.iter().filter(|seen| **seen).count() as f64 / warped.seen.len() as f64;
    assert!((0.35..0.65).contains(&seen));
    for (seen, hu) in warped.seen.iter().zip(warped.volume.voxels()) {
        assert!(*seen || *hu == hepalert_register::map::OUTSIDE_HU);
    }
}

fn volume(shape: [usize; 3], origin: [f64; 3], value: impl Fn([usize; 3]) -> f32) -> Volume<f32> {
    let grid = Arc::new(Grid::axial(shape, [2.0; 3], origin));
    Volume::new(grid, Array3::from_shape_fn(shape, |(z, y, x)| value([z, y, x])))
}

#[test]
fn bad_input_is_refused_by_name() {
    let textured = |[z, y, x]: [usize; 3]| ((z * 31 + y * 17 + x * 7) % 90) as f32;
    let good = volume([9, 20, 20], [0.0; 3], textured);
    let code = |fixed: &Volume<f32>, moving: &Volume<f32>| one(fixed, moving).unwrap_err().code();
    let slice = volume([1, 20, 20], [0.0; 3], textured);
    let flat = volume([9, 20, 20], [0.0; 3], |_| 40.0);
    let broken =
        volume([9, 20, 20], [0.0; 3], |at| if at == [3, 3, 3] { f32::NAN } else { textured(at) });
    let far = volume([9, 20, 20], [500.0, 0.0, 0.0], textured);
    let long = volume([2, 2, 10_000], [0.0; 3], textured);
    assert_eq!(code(&slice, &good), "one_slice");
    assert_eq!(code(&good, &slice), "one_slice");
    assert_eq!(code(&good, &flat), "constant_image");
    assert_eq!(code(&broken, &good), "not_finite");
    assert_eq!(code(&good, &far), "no_overlap");
    assert_eq!(code(&good, &long), "too_many_voxels_along_axis");
}

/// A header that says voxels of decimetres asks for no memory but that of the fixed image's surroundings.
#[test]
fn absurd_voxels_cost_no_more_than_what_can_be_reached() {
    let textured = |[z, y, x]: [usize; 3]| ((z * 31 + y * 17 + x * x * 7) % 90) as f32;
    let fixed = volume([40, 80, 80], [0.0; 3], textured);
    let grid = Arc::new(Grid::axial([60, 80, 80], [100.0; 3], [-4000.0, -4000.0, -3000.0]));
    let voxels = Array3::from_shape_fn([60, 80, 80], |(z, y, x)| textured([z, y, x]));
    // 184 GB as cubes of 2 mm; whether it can be laid on is not the question.
    let _ = one(&fixed, &Volume::new(grid, voxels));
    let grid = Arc::new(Grid::axial([60, 80, 80], [100.0; 3], [90_000.0, 0.0, 0.0]));
    let voxels = Array3::from_shape_fn([60, 80, 80], |(z, y, x)| textured([z, y, x]));
    assert_eq!(one(&fixed, &Volume::new(grid, voxels)).unwrap_err().code(), "no_overlap");
}

/// Nothing smaller than a descriptor reads out of bounds, and no dimension is a multiple.
#[test]
fn tiny_images_and_odd_dimensions_are_no_trouble() {
    for shape in [[2, 2, 2], [2, 3, 11], [3, 9, 5], [13, 17, 19], [2, 40, 2]] {
        let textured = |[z, y, x]: [usize; 3]| ((z * 31 + y * 17 + x * x * 7) % 90) as f32;
        let (a, b) = (volume(shape, [0.0; 3], textured), volume(shape, [1.0; 3], textured));
        let found = one(&a, &b).unwrap();
        assert!(found.map.at([0.5; 3]).iter().all(|c| c.is_finite()), "{shape:?}");
    }
}
