//! Accuracy against known truth: real CT and phantoms deformed by smooth random fields.
//!
//! `cargo run --release -p hepalert-register --example accuracy -- CASES [FOLDER]` prints a table;
//! FOLDER holds `chaos-ct3` and `crlm-1004`. A third argument names a folder for the pairs as NIfTI
//! with points and their truth as CSV, for other programs (`benches/compare_deeds.py`).
#![allow(clippy::expect_used, reason = "a measurement ends where its input does")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_register::align::{Kind, Settings, align};
use hepalert_study::study::Setting;
use hepalert_voxels::volume::Volume;
use hepalert_voxels::volume::nifti::read::{read, read_labels};
use hepalert_voxels::volume::nifti::write::write_f32;

#[path = "../tests/truth/mod.rs"]
mod truth;

use truth::{ARTERIAL, Contrast, DELAYED, How, NATIVE, Pair, Source, mean};

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

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let cases: u64 = arguments.first().and_then(|n| n.parse().ok()).unwrap_or(2);
    let mut sources = vec![("phantom", phantom(3))];
    if let Some(folder) = arguments.get(1).map(Path::new) {
        sources.push((
            "chaos-ct3",
            source_of(folder, "chaos-ct3/ct.nii.gz", "chaos-ct3/liver.nii.gz", 1),
        ));
        sources.push((
            "crlm-1004",
            source_of(folder, "crlm-1004/ct.nii.gz", "crlm-1004/organs_machine.nii.gz", 6),
        ));
    }
    let contrasts: [(&str, Contrast); 3] =
        [("delayed", DELAYED), ("arterial", ARTERIAL), ("native", NATIVE)];
    println!(
        "| source | slices mm | contrast | cases | before | after | median | 95 % | worst case | worse | folding % | bits | s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let slices: &[f64] = &[2.0, 5.0, 10.0];
    for (name, source) in &sources {
        for slice in slices {
            for (phase, contrast) in contrasts {
                row(name, source, *slice, phase, contrast, cases, arguments.get(2));
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
        let found = align(&pair.fixed, &[&pair.moving], &Settings::default()).expect("a pair");
        seconds += started.elapsed().as_secs_f64();
        let errors = pair.errors_mm(|p| found[0].map.at(p));
        let still = mean(&pair.errors_mm(|p| p));
        if found[0].kind != Kind::Deformed {
            eprintln!("{name} {slice} {phase} {seed}: {:?} {:?}", found[0].kind, found[0].quality);
        }
        worse += u64::from(mean(&errors) > still);
        folding = folding.max(found[0].quality.jacobian.folding);
        bits = [bits[0] + found[0].quality.bits_before, bits[1] + found[0].quality.bits_after];
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
