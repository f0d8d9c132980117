//! `engine measure`: what a network takes on this device: time of a patch, memory, how far f16 is
//! from f32, and how warm it gets.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ndarray::{Array5, ArrayView5, Axis};
use serde_json::{Value, json};

use crate::cli::engines::{RuntimeArgs, unusable};
use crate::cli::segment::open_bundle;
use crate::cli::{Failure, Ui, words};
use hepalert_bundles::{Bundle, Role};
use hepalert_engines::Engine;
use hepalert_engines::backend::{Precision, Runtime};
use hepalert_lab::evaluate::rates::quantile;

/// Patches run before the clock counts: caches fill and clocks rise.
const WARM_UP: usize = 3;
/// Most samples kept; a patch takes milliseconds at least.
const MAX_SAMPLES: usize = 1 << 20;
/// Distance of two looks at temperatures and clocks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Arguments of `engine measure`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the bundle.
    pub bundle: PathBuf,
    /// What runs the networks; f32 is measured too, for comparison.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// How long each network runs.
    #[arg(long, default_value_t = 60, value_parser = words::number::<u32>(1..=7200))]
    pub seconds: u32,
}

/// Runs the command.
///
/// # Errors
/// Exit 4 if an engine cannot be used.
pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let bundle = open_bundle(&args.bundle)?;
    let runtime = args.runtime.runtime();
    let (mut documents, mut text) = (Vec::new(), String::new());
    for (role, _) in bundle.networks() {
        let document = network(&bundle, role, &runtime, args.seconds, ui)?;
        let _ = writeln!(text, "{}", row(&document));
        documents.push(document);
    }
    ui.result(&documents, text.trim_end())
}

/// Measures the first fold; the others have its shape.
fn network(
    bundle: &Bundle,
    role: Role,
    runtime: &Runtime,
    seconds: u32,
    ui: &Ui,
) -> Result<Value, Failure> {
    let exact = Runtime { precision: Precision::F32, ..runtime.clone() };
    let input = bundle.golden(role, 0).map_err(unusable)?.input.insert_axis(Axis(0));
    let expected = logits(first(bundle, role, &exact)?.as_mut(), input.view())?;
    let started = Instant::now();
    let mut engine = first(bundle, role, runtime)?;
    let loading = started.elapsed().as_secs_f64();
    let found = logits(engine.as_mut(), input.view())?;
    let what = format!("measuring {}", role.name());
    let (samples, looks) =
        sustained(engine.as_mut(), input.view(), seconds, &mut ui.progress(&what))?;
    let sorted = |samples: &[f64]| {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let all = sorted(&samples);
    let at = |share: f64| quantile(&all, share);
    Ok(json!({
        "network": role.name(), "backend": runtime.backend.name(),
        "precision": runtime.precision.name(), "patch": bundle.require(role).map_err(unusable)?.patch,
        "batch": engine.spec().batch, "load_seconds": loading, "runs": samples.len(),
        "ms_per_patch": {"p50": at(0.5), "p95": at(0.95), "max": at(1.0)},
        "ms_per_patch_first_tenth": quantile(&sorted(&samples[..samples.len().div_ceil(10)]), 0.5),
        "ms_per_patch_last_tenth": quantile(&sorted(&samples[samples.len() * 9 / 10..]), 0.5),
        "labels_as_f32": agreement(expected.view(), found.view()),
        "peak_memory_mib": peak_memory_mib(), "looks": looks,
    }))
}

fn first(bundle: &Bundle, role: Role, runtime: &Runtime) -> Result<Box<dyn Engine>, Failure> {
    let engines = bundle.load(role, runtime).map_err(unusable)?;
    engines.into_iter().next().ok_or_else(|| Failure::failed(anyhow::anyhow!("no fold")))
}

/// The golden patch in every entry of a batch; the logits of the first.
fn logits(engine: &mut dyn Engine, input: ArrayView5<'_, f32>) -> Result<Array5<f32>, Failure> {
    let spec = engine.spec().clone();
    let mut patches = Array5::zeros(spec.input_shape());
    patches.assign(&input.broadcast(spec.input_shape()).unwrap_or(input));
    let mut logits = Array5::zeros(spec.output_shape());
    engine.infer(patches.view(), logits.view_mut()).map_err(unusable)?;
    Ok(logits.slice_axis(Axis(0), (0..1).into()).to_owned())
}

/// Milliseconds per patch of every run, in order, and what sensors said meanwhile.
fn sustained(
    engine: &mut dyn Engine,
    input: ArrayView5<'_, f32>,
    seconds: u32,
    progress: &mut crate::ui::Progress,
) -> Result<(Vec<f64>, Vec<Value>), Failure> {
    let spec = engine.spec().clone();
    let mut patches = Array5::zeros(spec.input_shape());
    patches.assign(&input.broadcast(spec.input_shape()).unwrap_or(input));
    let mut logits = Array5::zeros(spec.output_shape());
    for _ in 0..WARM_UP {
        engine.infer(patches.view(), logits.view_mut()).map_err(unusable)?;
    }
    let (mut samples, mut looks) = (Vec::new(), vec![look(0.0)]);
    let (started, mut looked) = (Instant::now(), Instant::now());
    while started.elapsed().as_secs() < u64::from(seconds) && samples.len() < MAX_SAMPLES {
        let run = Instant::now();
        engine.infer(patches.view(), logits.view_mut()).map_err(unusable)?;
        samples.push(run.elapsed().as_secs_f64() * 1e3 / spec.batch as f64);
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            looks.push(look(started.elapsed().as_secs_f64()));
        }
        progress.step(started.elapsed().as_secs() as usize, seconds as usize);
    }
    looks.push(look(started.elapsed().as_secs_f64()));
    Ok((samples, looks))
}

/// Share of the voxels with the same best class.
fn agreement(expected: ArrayView5<'_, f32>, found: ArrayView5<'_, f32>) -> f64 {
    let best = |values: ndarray::ArrayView1<'_, f32>| {
        let start = (0, f32::NEG_INFINITY);
        values.iter().enumerate().fold(start, |top, (i, &v)| if v > top.1 { (i, v) } else { top }).0
    };
    let (a, b) = (expected.lanes(Axis(1)), found.lanes(Axis(1)));
    let (mut voxels, mut equal) = (0_usize, 0_usize);
    for (a, b) in a.into_iter().zip(b) {
        voxels += 1;
        equal += usize::from(best(a) == best(b));
    }
    equal as f64 / voxels.max(1) as f64
}

/// What Linux tells of temperatures (degrees) and of the GPU's clock (MHz), as far as it does.
fn look(second: f64) -> Value {
    let temperatures: serde_json::Map<String, Value> = crate::system::thermal_zones(Path::new("/"))
        .into_iter()
        .map(|zone| (zone.name, json!(zone.now_c)))
        .collect();
    let mut clocks = serde_json::Map::new();
    for device in below(Path::new("/sys/class/devfreq")) {
        if let (Some(name), Some(hertz)) = (device.file_name(), number(&device.join("cur_freq"))) {
            clocks.insert(name.to_string_lossy().into_owned(), json!(hertz / 1e6));
        }
    }
    json!({"second": second, "degrees": temperatures, "mhz": clocks})
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn line(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

fn number(file: &Path) -> Option<f64> {
    line(file)?.parse().ok()
}

/// Of this process; on a Jetson the GPU's memory is part of it or beside it in the same chips.
fn peak_memory_mib() -> Option<f64> {
    Some(crate::system::memory_kib("self", "VmHWM")? as f64 / 1024.0)
}

fn row(document: &Value) -> String {
    let number = |pointer: &str| document.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
    let hottest = document["looks"].as_array().into_iter().flatten();
    let hottest = hottest.filter_map(|look| look["degrees"].as_object());
    let hottest = hottest.flat_map(|zones| zones.values().filter_map(Value::as_f64));
    let degrees = match hottest.reduce(f64::max) {
        Some(degrees) => format!("hottest sensor {degrees:.0} degrees"),
        None => "no temperature sensor".to_owned(),
    };
    format!(
        "{} {} {}: p50 {:.1} ms, p95 {:.1} ms per patch ({} runs; first tenth {:.1}, last tenth {:.1}), labels as f32 on {:.3} % of voxels, peak memory {:.0} MiB, {degrees}",
        document["network"].as_str().unwrap_or_default(),
        document["backend"].as_str().unwrap_or_default(),
        document["precision"].as_str().unwrap_or_default(),
        number("/ms_per_patch/p50"),
        number("/ms_per_patch/p95"),
        document["runs"],
        number("/ms_per_patch_first_tenth"),
        number("/ms_per_patch_last_tenth"),
        100.0 * number("/labels_as_f32"),
        number("/peak_memory_mib")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_counts_voxels() {
        let a = Array5::from_shape_fn((1, 2, 1, 1, 4), |(_, c, _, _, x)| {
            (c * x) as f32 - 1.5 * c as f32
        });
        let mut b = a.clone();
        b[[0, 1, 0, 0, 3]] = -9.0;
        assert_eq!(agreement(a.view(), a.view()), 1.0);
        assert_eq!(agreement(a.view(), b.view()), 0.75);
    }
}
