//! The first stage without its network: time per part and memory, for 30 to 240 slices.
//!
//! `first_stage [SLICES...]` runs every size in a process of its own, so that each tells its
//! own peak of memory, and prints one JSON line per size. The study is synthetic: four phases
//! of 512 x 512, 0.75 x 0.75 x 5 mm, to 0.8 x 0.8 x 5 mm, tiles of 16 x 128 x 128, 14 classes.
//! The network is a stand-in that leaves its logits as they are after the first call: what
//! is timed is everything else. Reading begins and writing ends with bytes in memory.

use std::ops::ControlFlow;
use std::process::Command;
use std::time::Instant;

use hepalert_cascade::segment::{LesionGain, prepare, segment_timed};
use hepalert_voxels::volume::Volume;
use hepalert_voxels::volume::nifti::read::read;
use hepalert_voxels::volume::nifti::write::{write_i16, write_u8};
use rayon::prelude::*;

#[path = "support/first_stage.rs"]
mod first_stage;
use first_stage::{aligned, phantom, plan, stand_in};

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
    let mut times = StageTimes::start();
    let volumes: Vec<Volume<f32>> =
        files.par_iter().map(|bytes| read(bytes)).collect::<Result<_, _>>()?;
    times.lap("read");
    let study = aligned(volumes);
    let plan = plan(4);
    let prepared = prepare(&study, &plan)?;
    drop(study);
    times.lap("preprocess");
    let started = Instant::now();
    let clock = || started.elapsed().as_secs_f64();
    let mut tiles = 0;
    let (scores, busy) =
        segment_timed(&prepared, &plan, &mut [stand_in(&plan)], &clock, &mut |at| {
            tiles = at.tiles_total;
            ControlFlow::Continue(())
        })?;
    drop(prepared);
    times.lap("blend_export");
    let labels = scores.labels(LesionGain(1.0));
    times.lap("labels");
    let written = write_u8(&labels);
    times.lap("write");
    let total: f64 = times.0.iter().map(|(_, wall, _)| wall).sum();
    let cpu: f64 = times.0.iter().map(|(_, _, cpu)| cpu).sum();
    let parts: Vec<String> = times
        .0
        .iter()
        .map(|(name, wall, cpu)| format!(r#""{name}":{wall:.3},"{name}_cpu":{cpu:.3}"#))
        .collect();
    let inside = [busy.gather_s, busy.blend_s, busy.export_s];
    println!(
        r#"{{"slices":{slices},"tiles":{tiles},{},"gather_blend_export":{inside:.3?},"total":{total:.3},"total_cpu":{cpu:.3},"ms_per_slice":{:.2},"peak_mib":{:.0},"packed_bytes":{packed},"label_bytes":{}}}"#,
        parts.join(","),
        1000.0 * total / slices as f64,
        peak_mib(),
        written.len()
    );
    Ok(())
}

/// Wall and processor seconds of the steps so far.
struct StageTimes(Vec<(&'static str, f64, f64)>, Instant, f64);

impl StageTimes {
    fn start() -> StageTimes {
        StageTimes(Vec::new(), Instant::now(), cpu_seconds())
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
