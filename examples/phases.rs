//! How often contrast phases are told right: phantoms of unseen physiology, and how long it takes.
//!
//!     cargo run --release --example phases -- 400
//!
//! Every phantom is scanned once, at a moment drawn as protocols draw it; its true phase is that
//! of the protocol. Prints a table by phase and every mistake.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use hepalert_engines::backend::Runtime;
use hepalert_lab::phantom::{Case, Size, scan_after};
use hepalert_phases::{Look, Recogniser};
use hepalert_voxels::volume::Volume;
use rand::{Rng, SeedableRng};

/// Seconds of a protocol's phase.
fn moment(rng: &mut impl Rng) -> (&'static str, f32) {
    let uniform = |rng: &mut dyn FnMut() -> u32, lo: f32, hi: f32| {
        lo + (hi - lo) * (rng() >> 8) as f32 / 16_777_216.0
    };
    let kind = rng.next_u32() % 5;
    let mut next = || rng.next_u32();
    match kind {
        0 => ("nc", 0.0),
        1 => ("ap", uniform(&mut next, 22.0, 30.0)),
        2 => ("ap", uniform(&mut next, 33.0, 44.0)),
        3 => ("vp", uniform(&mut next, 62.0, 90.0)),
        _ => ("dp", uniform(&mut next, 160.0, 320.0)),
    }
}

fn main() -> anyhow::Result<()> {
    let count: u64 = std::env::args().nth(1).map_or(Ok(40), |text| text.parse())?;
    let runtime = Runtime { threads: 1, ..Runtime::default() };
    let mut recogniser = Recogniser::open(Path::new("engines/ct-phase"), &runtime)?;
    let mut table: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let mut seconds = 0.0;
    for seed in 0..count {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let (truth, at_s) = moment(&mut rng);
        let seed = 40_000 + seed;
        let size = Size { pixels: 192, slices: None };
        let scan = scan_after(seed, Case::of_seed(seed), at_s, size);
        let volume = Volume::new(scan.grid().clone(), scan.voxels().mapv(f32::from));
        let began = Instant::now();
        let seen = recogniser.look(&volume)?;
        seconds += began.elapsed().as_secs_f64();
        let (look, p) = seen.best();
        let right = look.phase().is_some_and(|phase| phase.code() == truth);
        let row = table.entry(truth).or_default();
        row[0] += usize::from(right);
        row[1] += 1;
        if !right {
            let name = Look::name(look);
            println!(
                "seed {seed}: {truth} at {at_s:.0} s is taken for {name} ({p:.2}): {:?}",
                seen.organs
            );
        }
    }
    let right: usize = table.values().map(|row| row[0]).sum();
    println!("| phase | right | of |\n|---|---|---|");
    for (phase, [right, of]) in &table {
        println!("| {phase} | {right} | {of} |");
    }
    println!("| all | {right} | {count} |");
    println!("{:.2} s per series", seconds / count as f64);
    Ok(())
}
