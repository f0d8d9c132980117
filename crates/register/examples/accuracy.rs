//! Accuracy against known truth: real CT and phantoms deformed by smooth random fields.
//!
//! `cargo run --release -p hepalert-register --example accuracy -- table CASES [DATA [PAIRS]]` prints a
//! row for every scan, thickness of slices and contrast; PAIRS names a folder for the pairs as NIfTI with
//! points and their truth as CSV, for other programs (`benches/compare_registration.py`).
//!
//! `.. -- random CASES SEED [DATA]` draws cases at random (`just registration-cases`), prints each, and
//! fails if one is worse than before, folds, or a mean passes its bar.
//!
//! `.. -- phases FIXED MOVING..` aligns scans (NIfTI) with one, all in one go, and prints how it went, the
//! time it took and the memory of the process.
//!
//! DATA holds scans as folders of `ct.nii.gz` and `liver.nii.gz` (a mask), or as the project's own
//! collection has them.
#![allow(clippy::expect_used, reason = "a measurement ends where its input does")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_register::align::{Alignment, AlignmentKind, Settings, align};
use hepalert_study::phase::Setting;
use hepalert_voxels::volume::Volume;
use hepalert_voxels::volume::nifti::read::{read, read_labels};
use hepalert_voxels::volume::nifti::write::write_f32;

#[path = "../tests/truth/mod.rs"]
mod truth;

use truth::{CONTRASTS, Contrast, Drawn, How, Pair, Source, mean};

/// What the mean error of liver points may be, in mm, by slices of the moving image in mm.
const BARS: [(f64, f64); 3] = [(2.0, 1.2), (5.0, 1.9), (10.0, 2.5)];
/// Most folded voxels, as a share.
const MAX_FOLDED: f64 = 0.001;

fn source_of(folder: &Path, image: &str, mask: &str, label: u8) -> Source {
    let bytes = |name: &str| std::fs::read(folder.join(name)).expect(name);
    let volume = read(&bytes(image)).expect(image);
    let labels = read_labels(&bytes(mask)).expect(mask);
    Source { volume, liver: labels.voxels().mapv(|l| l == label) }
}

fn phantom(seed: u64) -> Source {
    let size = Size { pixels: 256, slices: Some(100) };
    let patient = generate(seed, Case::Malignant, Setting::Venous, size);
    let volume = &patient.phases[0].1;
    let voxels = volume.voxels().mapv(f32::from);
    let liver = patient.truth.voxels().mapv(|l| (1..=8).contains(&l));
    Source { volume: Volume::new(Arc::clone(volume.grid()), voxels), liver }
}

/// Scans with livers below a folder, by name.
fn scans(data: &Path) -> Vec<(String, Source)> {
    let folders = std::fs::read_dir(data).expect("DATA");
    let mut names: Vec<_> = folders.map(|entry| entry.expect("DATA").file_name()).collect();
    names.sort();
    let scan = |name: &std::ffi::OsString| {
        let folder = data.join(name);
        let has = |file: &str| folder.join(file).exists();
        let masks = [("liver.nii.gz", 1), ("organs_machine.nii.gz", 6)];
        let (mask, label) = masks.into_iter().find(|(mask, _)| has("ct.nii.gz") && has(mask))?;
        let source = source_of(&folder, "ct.nii.gz", mask, label);
        Some((name.to_string_lossy().into_owned(), source))
    };
    names.iter().filter_map(scan).collect()
}

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, or: u64| arguments.get(at).and_then(|n| n.parse().ok()).unwrap_or(or);
    let data = |at: usize| arguments.get(at).map_or(vec![], |data| scans(Path::new(data)));
    match arguments.first().map(String::as_str) {
        Some("table") => table(number(1, 1), data(2), arguments.get(3)),
        Some("random") => return random(number(1, 50), number(2, 1), data(3)),
        Some("phases") => phases(&arguments[1..]),
        _ => {
            eprintln!(
                "table CASES [DATA [PAIRS]], random CASES SEED [DATA], or phases FIXED MOVING.."
            );
            return std::process::ExitCode::FAILURE;
        }
    }
    std::process::ExitCode::SUCCESS
}

fn phases(paths: &[String]) {
    let volume = |path: &String| read(&std::fs::read(path).expect(path)).expect(path);
    let volumes: Vec<_> = paths.iter().map(volume).collect();
    let Some((fixed, moving)) = volumes.split_first() else { return };
    let started = Instant::now();
    let moving: Vec<_> = moving.iter().collect();
    let found = align(fixed, &moving, &Settings::default()).expect("scans");
    let seconds = started.elapsed().as_secs_f64();
    for (path, Alignment { kind, quality, .. }) in paths[1..].iter().zip(&found) {
        println!("{path}: {kind:?} {quality:?}");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!("{} scans in {seconds:.2} s, {peak}", moving.len());
}

/// Random cases, every scan as often as the seed has it.
fn random(cases: u64, seed: u64, scans: Vec<(String, Source)>) -> std::process::ExitCode {
    let phantoms = [2 * seed, 2 * seed + 1].map(|n| (format!("phantom {n}"), phantom(n)));
    let sources: Vec<_> = phantoms.into_iter().chain(scans).collect();
    let slices: Vec<f64> = BARS.iter().map(|(slice, _)| *slice).collect();
    let mut errors: Vec<(f64, f64)> = Vec::new();
    let mut good = true;
    println!("| case | scan | slices mm | phase | before | after | folding % | how |");
    println!("|---|---|---|---|---|---|---|---|");
    for case in 0..cases {
        let Drawn { source, phase, how } = Drawn::new(seed * 1_000 + case, sources.len(), &slices);
        let pair = Pair::new(&sources[source].1, &how, seed * 1_000 + case);
        let found = one(&pair);
        let (before, after) =
            (mean(&pair.errors_mm(|p| p)), mean(&pair.errors_mm(|p| found.map.at(p))));
        let folding = found.quality.jacobian.folding;
        good &= after <= before && folding < MAX_FOLDED;
        errors.push((how.moving_slice_mm, after));
        println!(
            "| {case} | {} | {} | {phase} | {before:.2} | {after:.2} | {:.3} | {:?} |",
            sources[source].0,
            how.moving_slice_mm,
            100.0 * folding,
            found.kind
        );
    }
    for (slice, bar) in BARS {
        let of: Vec<f64> = errors.iter().filter(|(s, _)| *s == slice).map(|(_, e)| *e).collect();
        if !of.is_empty() {
            println!(
                "slices of {slice} mm: {} cases, mean error {:.2} mm (bar {bar})",
                of.len(),
                mean(&of)
            );
            good &= mean(&of) <= bar;
        }
    }
    println!("{}", if good { "never worse, no folding, within the bars" } else { "FAILED" });
    if good { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

fn one(pair: &Pair) -> Alignment {
    align(&pair.fixed, &[&pair.moving], &Settings::default()).expect("a pair").remove(0)
}

fn table(cases: u64, scans: Vec<(String, Source)>, pairs: Option<&String>) {
    let sources = std::iter::once(("phantom".to_owned(), phantom(3))).chain(scans);
    println!(
        "| scan | slices mm | contrast | cases | before | after | median | 95 % | worst case | worse | folding % | bits | s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (name, source) in sources {
        for (slice, _) in BARS {
            for (phase, contrast) in CONTRASTS {
                row(&name, &source, slice, phase, contrast, cases, pairs);
            }
        }
    }
}

fn row(
    name: &str,
    source: &Source,
    slice: f64,
    phase: &str,
    contrast: Contrast,
    cases: u64,
    dump: Option<&String>,
) {
    let (mut before, mut after, mut all) = (vec![], vec![], vec![]);
    let (mut worse, mut folding, mut seconds, mut bits) = (0, 0.0_f64, 0.0, [0.0; 2]);
    for seed in 0..cases {
        let mut draw = truth::Draw::new(seed + 77);
        let how = How {
            in_plane_mm: if slice == 2.0 { 2.0 } else { 1.5 },
            fixed_slice_mm: slice.min(5.0),
            moving_slice_mm: slice,
            most_mm: draw.uniform(8.0, 20.0),
            knot_mm: draw.uniform(50.0, 80.0),
            contrast,
            noise_hu: 7.0,
        };
        let pair = Pair::new(source, &how, seed);
        if let Some(folder) = dump {
            let base = format!("{folder}/{name}-{slice}-{phase}-{seed}");
            std::fs::write(format!("{base}-fixed.nii.gz"), write_f32(&pair.fixed)).expect(folder);
            std::fs::write(format!("{base}-moving.nii.gz"), write_f32(&pair.moving)).expect(folder);
            let csv = |points: &mut dyn Iterator<Item = [f64; 3]>| {
                let line = |[x, y, z]: [f64; 3]| format!("{x:.4},{y:.4},{z:.4}\n");
                "x,y,z\n".to_owned() + &points.map(line).collect::<String>()
            };
            let (mut at, mut truth): (Vec<_>, Vec<_>) = pair.truth().unzip();
            std::fs::write(format!("{base}-points.csv"), csv(&mut at.drain(..))).expect(folder);
            std::fs::write(format!("{base}-truth.csv"), csv(&mut truth.drain(..))).expect(folder);
        }
        let started = Instant::now();
        let found = one(&pair);
        seconds += started.elapsed().as_secs_f64();
        let errors = pair.errors_mm(|p| found.map.at(p));
        let still = mean(&pair.errors_mm(|p| p));
        if found.kind != AlignmentKind::Deformed {
            eprintln!("{name} {slice} {phase} {seed}: {:?} {:?}", found.kind, found.quality);
        }
        worse += u64::from(mean(&errors) > still);
        folding = folding.max(found.quality.jacobian.folding);
        bits = [bits[0] + found.quality.bits_before, bits[1] + found.quality.bits_after];
        before.push(still);
        after.push(mean(&errors));
        all.extend(errors);
    }
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize];
    let worst = after.iter().copied().fold(0.0, f64::max);
    let n = cases as f64;
    println!(
        "| {name} | {slice} | {phase} | {cases} | {:.2} | {:.2} | {:.2} | {:.2} | {worst:.2} | {worse} | {:.3} | {:.1} -> {:.1} | {:.2} |",
        mean(&before),
        mean(&after),
        at(0.5),
        at(0.95),
        100.0 * folding,
        bits[0] / n,
        bits[1] / n,
        seconds / n,
    );
}
