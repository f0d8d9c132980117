//! The first stage without its network: time per part and memory, for 30 to 240 slices.
//!
//! `first_stage [SLICES...]` runs every size in a process of its own, so that each tells its
//! own peak of memory, and prints one JSON line per size. The study is synthetic: four phases
//! of 512 x 512, 0.75 x 0.75 x 5 mm, to 0.8 x 0.8 x 5 mm, tiles of 16 x 128 x 128, 14 classes.
//! The network is a stand-in that leaves its logits as they are after the first call: what
//! is timed is everything else. Reading begins and writing ends with bytes in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use hepalert::anatomy;
use hepalert::engine::bundle::{
    BundleFile, Decision, Fusion, Golden, NetworkPlan, Reader, Resampling, Sums,
};
use hepalert::engine::{Engine, EngineError, EngineSpec};
use hepalert::image::normalise::Normalisation;
use hepalert::segment::{AirTiles, LesionGain, Plan, prepare, segment_prepared};
use hepalert::study::{AlignedStudy, Phase, Study, StudyKey};
use hepalert::volume::nifti::read::read;
use hepalert::volume::nifti::write::{write_i16, write_u8};
use hepalert::volume::{Grid, Volume};
use ndarray::{Array3, ArrayView5, ArrayViewMut5};
use rayon::prelude::*;

/// Slices of a study, and of the longest that is likely.
const SIZES: [usize; 4] = [30, 60, 120, 240];

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|w| !w.starts_with("--")).collect();
    match words.split_first() {
        Some((word, rest)) if word == "one" => return one(rest[0].parse()?),
        _ => {}
    }
    let sizes = words.iter().map(|w| w.parse()).collect::<Result<Vec<usize>, _>>()?;
    for slices in if sizes.is_empty() { SIZES.to_vec() } else { sizes } {
        let program = std::env::current_exe()?;
        let done = Command::new(program).args(["one", &slices.to_string()]).status()?;
        anyhow::ensure!(done.success(), "{slices} slices: {done}");
    }
    Ok(())
}

fn one(slices: usize) -> anyhow::Result<()> {
    let files: Vec<Vec<u8>> =
        (0..4).into_par_iter().map(|phase| write_i16(&phantom(slices, phase))).collect();
    let packed: usize = files.iter().map(Vec::len).sum();
    let mut laps = Laps::start();
    let volumes: Vec<Volume<f32>> =
        files.par_iter().map(|bytes| read(bytes)).collect::<Result<_, _>>()?;
    laps.lap("read");
    let key = StudyKey::new(&"0".repeat(32)).ok_or_else(|| anyhow::anyhow!("no key"))?;
    let phases: BTreeMap<Phase, Volume<f32>> = Phase::ALL.into_iter().zip(volumes).collect();
    let study = AlignedStudy::from_study(Study { key, phases }, &Phase::ALL)?;
    let plan = plan()?;
    let prepared = prepare(&study, &plan)?;
    drop(study);
    laps.lap("preprocess");
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(StandIn(plan.network.spec(1)))];
    let mut tiles = 0;
    let scores = segment_prepared(&prepared, &plan, &mut engines, &mut |at| {
        tiles = at.tiles_total;
        ControlFlow::Continue(())
    })?;
    laps.lap("blend_export");
    let labels = scores.labels(LesionGain(1.0));
    laps.lap("labels");
    let written = write_u8(&labels);
    laps.lap("write");
    let total: f64 = laps.0.iter().map(|(_, wall, _)| wall).sum();
    let cpu: f64 = laps.0.iter().map(|(_, _, cpu)| cpu).sum();
    let parts: Vec<String> = laps
        .0
        .iter()
        .map(|(name, wall, cpu)| format!(r#""{name}":{wall:.3},"{name}_cpu":{cpu:.3}"#))
        .collect();
    println!(
        r#"{{"slices":{slices},"tiles":{tiles},{},"total":{total:.3},"total_cpu":{cpu:.3},"ms_per_slice":{:.2},"peak_mib":{:.0},"packed_bytes":{packed},"label_bytes":{}}}"#,
        parts.join(","),
        1000.0 * total / slices as f64,
        peak_mib(),
        written.len()
    );
    Ok(())
}

/// Wall and processor seconds of the steps so far.
struct Laps(Vec<(&'static str, f64, f64)>, Instant, f64);

impl Laps {
    fn start() -> Laps {
        Laps(Vec::new(), Instant::now(), cpu_seconds())
    }

    fn lap(&mut self, name: &'static str) {
        let (now, cpu) = (Instant::now(), cpu_seconds());
        self.0.push((name, (now - self.1).as_secs_f64(), cpu - self.2));
        (self.1, self.2) = (now, cpu);
    }
}

/// Processor time of all threads of this process, from `/proc`: in steps of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// Highest resident memory of this process so far.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// A body of noise in air.
fn phantom(slices: usize, phase: u32) -> Volume<i16> {
    let grid = Arc::new(Grid::axial([slices, 512, 512], [5.0, 0.75, 0.75], [0.0; 3]));
    let voxels = Array3::from_shape_fn(grid.shape(), |(z, y, x)| {
        let (dy, dx) = ((y as f32 - 256.0) / 180.0, (x as f32 - 256.0) / 230.0);
        let hash = ((z * 512 + y) * 512 + x) as u32 ^ (phase << 28);
        let noise = (hash.wrapping_mul(2_654_435_761) >> 16) as i16 & 31;
        let wave = ((z * 3 + y + 2 * x) as f32 * 0.02).sin() * 60.0;
        if dy * dy + dx * dx < 1.0 { 40 + wave as i16 + noise } else { -1000 + noise / 8 }
    });
    Volume::new(grid, voxels)
}

fn plan() -> anyhow::Result<Plan> {
    let file = BundleFile::new("none", &"0".repeat(64), 0).map_err(|e| anyhow::anyhow!("{e}"))?;
    let normalisation = Normalisation::Ct { mean: 60.0, std: 50.0, lower: -150.0, upper: 250.0 };
    let network = NetworkPlan {
        files: vec![file.clone()],
        reader: Reader::SimpleItk,
        classes: anatomy::class_names().map(str::to_owned).to_vec(),
        channels: 4,
        patch: [16, 128, 128],
        spacing_mm: [5.0, 0.8, 0.8],
        transpose_forward: [0, 1, 2],
        normalisation: vec![normalisation; 4],
        resampling: Resampling::Default,
        resampling_logits: Resampling::Default,
        mirror_axes: vec![],
        tile_step: 0.5,
        fusion: Fusion::Logits,
        sums: Sums::F16,
        decision: Decision::Argmax,
        postprocessing: vec![],
        mask_value: 0.0,
        golden: Golden { input: file.clone(), expected: vec![file], stride: [1, 1, 1] },
    };
    Ok(Plan { network, batch: 1, air: AirTiles::RunAll, memory_budget_bytes: 8 << 30 })
}

/// Smooth logits, written once into each set of buffers.
struct StandIn(EngineSpec);

impl Engine for StandIn {
    fn spec(&self) -> &EngineSpec {
        &self.0
    }

    fn infer(
        &mut self,
        _: ArrayView5<'_, f32>,
        mut logits: ArrayViewMut5<'_, f32>,
    ) -> Result<(), EngineError> {
        if logits.iter().take(14).any(|&v| v != 0.0) {
            return Ok(());
        }
        for ((_, class, z, y, x), out) in logits.indexed_iter_mut() {
            let place = (z * 5 + y * 3 + x * 2) as f32;
            *out = 4.0 * (place * 0.01 * (1 + class) as f32).sin() + 0.1 * class as f32 + 0.05;
        }
        Ok(())
    }
}
