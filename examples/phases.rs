//! How often contrast phases are told right on phantoms that nothing was made for.
//!
//!     cargo run --example phases -- [FILE [SERIES [FIRST_SEED]]]
//!
//! Half of the series are single scans of a patient each, at a moment drawn as protocols draw it;
//! the true phase is the protocol's. The others are examinations of four phases as `hepalert
//! phantom --setting diagnosis` makes them, asked series by series and weighed together, without
//! names and times. Every series is a line in FILE; what is there is not done again. Prints a
//! table by phase, and every mistake.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use hepalert::intake::study::phases::{Scan, choose};
use hepalert_engines::backend::Runtime;
use hepalert_lab::phantom::{Case, Size, generate_moving, scan_after};
use hepalert_phases::{Recogniser, Seen};
use hepalert_study::phase::{Phase, Setting};
use hepalert_voxels::volume::Volume;
use rand::{Rng, SeedableRng};

/// In plane 2 mm: the recogniser averages to 2.5.
const SIZE: Size = Size { pixels: 192, slices: None };

/// Seconds of a protocol's phase.
fn moment(seed: u64) -> (Phase, f32) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let kind = rng.next_u32() % 5;
    let mut within =
        |lo: f32, hi: f32| lo + (hi - lo) * (rng.next_u32() >> 8) as f32 / 16_777_216.0;
    match kind {
        0 => (Phase::Nc, 0.0),
        1 => (Phase::Ap, within(22.0, 30.0)),
        2 => (Phase::Ap, within(33.0, 44.0)),
        3 => (Phase::Vp, within(62.0, 90.0)),
        _ => (Phase::Dp, within(160.0, 320.0)),
    }
}

fn look(recogniser: &mut Recogniser, scan: &Volume<i16>) -> anyhow::Result<(Seen, f64)> {
    let volume = Volume::new(scan.grid().clone(), scan.voxels().mapv(f32::from));
    let began = Instant::now();
    let seen = recogniser.look(&volume)?;
    Ok((seen, began.elapsed().as_secs_f64()))
}

fn name(phase: Option<Phase>) -> &'static str {
    phase.map_or("none", Phase::code)
}

/// Kind, true phase and what it is taken for, in words that begin a line.
fn line(kind: &str, seed: u64, truth: Phase, taken: Option<Phase>, rest: &str) -> String {
    format!("{kind}\t{seed}\t{}\t{}\t{rest}\n", truth.code(), name(taken))
}

fn single(recogniser: &mut Recogniser, seed: u64) -> anyhow::Result<String> {
    let (truth, at_s) = moment(seed);
    let volume = scan_after(seed, Case::of_seed(seed), at_s, SIZE);
    let (seen, seconds) = look(recogniser, &volume)?;
    let (best, p) = seen.best();
    let rest = format!("{p:.2}\t{seconds:.3}\tat {at_s:.0} s, {}, {:?}", best.name(), seen.organs);
    Ok(line("single", seed, truth, best.phase(), &rest))
}

/// One of a study's series whose header says nothing.
fn silent(volume: &Volume<i16>) -> Scan {
    let slices = volume.grid().shape()[0];
    let coverage_mm = slices as f64 * volume.grid().spacing_mm()[0];
    Scan { slices, coverage_mm, ..Scan::default() }
}

fn examination(recogniser: &mut Recogniser, seed: u64) -> anyhow::Result<String> {
    let patient = generate_moving(seed, Case::of_seed(seed), Setting::Diagnosis, SIZE);
    let mut looks = Vec::new();
    for (_, volume) in &patient.phases {
        looks.push(look(recogniser, volume)?);
    }
    let scans: Vec<Scan> = patient.phases.iter().map(|(_, volume)| silent(volume)).collect();
    let images: Vec<Option<&Seen>> = looks.iter().map(|(seen, _)| Some(seen)).collect();
    let weighed = choose(&scans, &images, &Phase::ALL);
    let mut lines = String::new();
    for (at, ((truth, _), (seen, seconds))) in patient.phases.iter().zip(&looks).enumerate() {
        let (best, own) = seen.best();
        let rest = format!("{own:.2}\t{seconds:.3}\t{}, {:?}", best.name(), seen.organs);
        lines += &line("alone", seed, *truth, best.phase(), &rest);
        let (together, p) = weighed.best(at);
        let rest = format!("{p:.2}\t0\t{:.2?}", weighed.probabilities[at]);
        lines += &line("weighed", seed, *truth, together, &rest);
    }
    Ok(lines)
}

fn report(text: &str) -> String {
    let mut table: BTreeMap<(&str, &str), [usize; 2]> = BTreeMap::new();
    let (mut wrong, mut seconds, mut looks) = (String::new(), 0.0, 0);
    for line in text.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [kind, _, truth, taken, _, time, _] = parts[..] else { continue };
        for phase in [truth, "all"] {
            let row = table.entry((kind, phase)).or_default();
            row[0] += usize::from(truth == taken);
            row[1] += 1;
        }
        if truth != taken {
            let _ = writeln!(wrong, "{line}");
        }
        if kind != "weighed" {
            seconds += time.parse().unwrap_or(0.0);
            looks += 1;
        }
    }
    let mut page = format!("{wrong}\n| asked | phase | right | of |\n|---|---|---|---|\n");
    for ((kind, phase), [right, of]) in table {
        let _ = writeln!(page, "| {kind} | {phase} | {right} | {of} |");
    }
    let _ = write!(page, "{:.2} s per series", seconds / f64::from(looks.max(1)));
    page
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| "target/phases.tsv".to_owned());
    let series: u64 = args.next().map_or(Ok(400), |text| text.parse())?;
    let first: u64 = args.next().map_or(Ok(910_000), |text| text.parse())?;
    let runtime = Runtime { threads: Some(1), ..Runtime::default() };
    let mut recogniser = Recogniser::open(Path::new("engines/ct-phase"), &runtime)?;
    let done = std::fs::read_to_string(&path).unwrap_or_default();
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    for at in 0..series / 2 {
        let seed = first + at;
        if !done.contains(&format!("single\t{seed}\t")) {
            file.write_all(single(&mut recogniser, seed)?.as_bytes())?;
        }
        // Four series each: one patient in four seeds.
        if at % 4 == 0 && !done.contains(&format!("alone\t{seed}\t")) {
            file.write_all(examination(&mut recogniser, seed)?.as_bytes())?;
        }
    }
    println!("{}", report(&std::fs::read_to_string(&path)?));
    Ok(())
}
