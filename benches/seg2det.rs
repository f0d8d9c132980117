//! Times the way from a label map to single lesions, step by step.
//!
//! `seg2det [RAW Z Y X [REPEATS]]`: RAW holds one byte per voxel in C order; without it a
//! synthetic map of 78 slices is made. Prints one JSON line per number of threads, in
//! milliseconds, the median and the smallest of the repeats.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use hepalert_cascade::detect::seg2det::{DetectParams, instance_map, seg2det};
use hepalert_voxels::image::components::{InPlane, components};
use hepalert_voxels::volume::{Grid, LabelMap, Volume};
use ndarray::Array3;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let (labels, repeats) = match arguments.as_slice() {
        [] => (synthetic([78, 512, 512]), 11),
        [path, z, y, x] => (raw(path, [z, y, x])?, 11),
        [path, z, y, x, repeats] => (raw(path, [z, y, x])?, repeats.parse()?),
        _ => anyhow::bail!("usage: seg2det [RAW Z Y X [REPEATS]]"),
    };
    for threads in [1, 0] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        pool.install(|| report(&labels, repeats));
    }
    Ok(())
}

fn report(labels: &LabelMap, repeats: usize) {
    let params = DetectParams::default();
    let found = seg2det(labels, &params);
    let voxels = labels.voxels().view();
    let steps = [
        ("components", median_ms(repeats, || components(voxels, 1..=6, InPlane::Eight))),
        ("detections", median_ms(repeats, || seg2det(labels, &params))),
        ("volume", median_ms(repeats, || instance_map(&seg2det(labels, &params), labels.grid()))),
    ];
    let steps: Vec<String> = steps
        .iter()
        .map(|(step, [median, least])| format!(r#""{step}":{median:.4},"{step}_min":{least:.4}"#))
        .collect();
    let threads = rayon::current_num_threads();
    println!(r#"{{"threads":{threads},"lesions":{},{}}}"#, found.len(), steps.join(","));
}

/// Median and least. The first, cold run does not count; the result is dropped after the
/// clock stops, as in the peer's loop.
fn median_ms<T>(repeats: usize, mut step: impl FnMut() -> T) -> [f64; 2] {
    drop(black_box(step()));
    let mut times: Vec<f64> = (0..repeats.max(1))
        .map(|_| {
            let started = Instant::now();
            let made = black_box(step());
            let elapsed = started.elapsed().as_secs_f64() * 1e3;
            drop(made);
            elapsed
        })
        .collect();
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[0]]
}

fn on_grid(voxels: Array3<u8>) -> LabelMap {
    let grid = Grid::axial(voxels.dim().into(), [5.0, 0.75, 0.75], [0.0; 3]);
    Volume::new(Arc::new(grid), voxels)
}

fn raw(path: &str, [z, y, x]: [&String; 3]) -> anyhow::Result<LabelMap> {
    let bytes = std::fs::read(path)?;
    Ok(on_grid(Array3::from_shape_vec([z.parse()?, y.parse()?, x.parse()?], bytes)?))
}

/// Twenty ellipsoids of the six types in a field of background.
fn synthetic(shape: [usize; 3]) -> LabelMap {
    let mut voxels = Array3::zeros(shape);
    for n in 0..20usize {
        let centre = [7 + 13 * n % 64, 120 + 37 * n % 260, 120 + 71 * n % 260];
        let radius = [1 + n % 4, 4 + 3 * n % 17, 4 + 5 * n % 19];
        let lo: [usize; 3] = std::array::from_fn(|axis| centre[axis] - radius[axis]);
        for ((z, y, x), voxel) in voxels.indexed_iter_mut() {
            let at = [z, y, x];
            let inside =
                (0..3).all(|axis| (lo[axis]..=centre[axis] + radius[axis]).contains(&at[axis]));
            let apart = |axis: usize| at[axis].abs_diff(centre[axis]) as f64 / radius[axis] as f64;
            if inside && (0..3).map(|axis| apart(axis).powi(2)).sum::<f64>() <= 1.0 {
                *voxel = n as u8 % 6 + 1;
            }
        }
    }
    on_grid(voxels)
}
