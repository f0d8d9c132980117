//! The parts of the first stage beside its network, in bytes per second, next to what copying
//! memory takes on this machine. About a minute.
//!
//! `read`: one phase from `.nii.gz` bytes. `resample`: cut, normalise and cubic resize of one
//! phase. `blend`: tiles into sums, sums into slices; `export`: slices to the study's grid and
//! the best classes with their margin. The last two are timed inside a whole run by the first
//! stage's own meter, with a stand-in for the network.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hepalert_cascade::segment::{Busy, Plan, Prepared, prepare, segment_timed};
use hepalert_voxels::volume::nifti::read::read;
use hepalert_voxels::volume::nifti::write::write_i16;

#[path = "support/first_stage.rs"]
mod first_stage;
use first_stage::{phantom, plan, stand_in, study};

/// One patch depth: enough for every part, and quick.
const SLICES: usize = 16;

fn stages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("first stage");
    group.sample_size(10).measurement_time(Duration::from_secs(4));
    let voxels = (SLICES * 512 * 512) as u64;

    let from = vec![1.0_f32; 16 << 20];
    let mut to = vec![0.0_f32; 16 << 20];
    group.throughput(Throughput::Bytes(64 << 20));
    group.bench_function("memcpy", |b| b.iter(|| to.copy_from_slice(&from)));

    let packed = write_i16(&phantom(SLICES, 0));
    group.throughput(Throughput::Bytes(2 * voxels));
    group.bench_function("read", |b| b.iter(|| read(&packed)));

    let mut one = plan(1);
    one.network.normalisation.truncate(1);
    let single = study(SLICES, 1);
    group.throughput(Throughput::Bytes(4 * voxels));
    group.bench_function("resample", |b| b.iter(|| prepare(&single, &one)));

    let Ok(prepared) = prepare(&single, &one) else { unreachable!("a sound study") };
    let classes = one.network.classes.len() as u64;
    let tiles = run(&prepared, &one).tiles_run as u64;
    group.throughput(Throughput::Bytes(tiles * classes * 4 * 16 * 128 * 128));
    group.bench_function("blend", |b| b.iter_custom(|n| busy(&prepared, &one, n, |t| t.blend_s)));
    let slice = prepared.geometry.shape.iter().product::<usize>() as u64;
    group.throughput(Throughput::Bytes(classes * 4 * slice));
    group.bench_function("export", |b| b.iter_custom(|n| busy(&prepared, &one, n, |t| t.export_s)));
    group.finish();
}

/// Time of one part over some runs.
fn busy(prepared: &Prepared, plan: &Plan, runs: u64, part: fn(&Busy) -> f64) -> Duration {
    Duration::from_secs_f64((0..runs).map(|_| part(&run(prepared, plan))).sum())
}

fn run(prepared: &Prepared, plan: &Plan) -> Busy {
    let started = Instant::now();
    let clock = || started.elapsed().as_secs_f64();
    let mut engines = vec![stand_in(plan)];
    let done =
        segment_timed(prepared, plan, &mut engines, &clock, &mut |_| ControlFlow::Continue(()));
    let Ok((_, busy)) = done else { unreachable!("a sound study and network") };
    busy
}

criterion_group!(benches, stages);
criterion_main!(benches);
