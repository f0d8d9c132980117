//! Every layer shape of the shipped networks and of the one that is compared with nnU-Net, alone
//! on one thread, in each precision that the processor has: GFLOP/s, beside the peak that it
//! reaches at that moment. Ends with all of it as one table.
//!
//! Operations are those of the definition; Winograd's filters do fewer, and so may pass the peak.
//! The patch enters and the logits leave within the time: a layer within a network is faster.

#![allow(clippy::unwrap_used, reason = "a bench may stop")]

mod peak;
#[path = "../tests/written/mod.rs"]
mod written;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use hepalert_native::{Level, Network, Options, Precision};
use written::Layer;

const PLANE: [usize; 3] = [1, 3, 3];
const CUBE: [usize; 3] = [3, 3, 3];
const ONE: [usize; 3] = [1, 1, 1];
const DOWN: [usize; 3] = [1, 2, 2];
const TWO: [usize; 3] = [2, 2, 2];

/// `(inputs, outputs, size, kernel, stride, transposed)`
type Row = (usize, usize, [usize; 3], [usize; 3], [usize; 3], bool);

#[rustfmt::skip]
const LAYERS: [Row; 20] = [
    (4, 16, [16, 128, 128], PLANE, ONE, false),
    (16, 16, [16, 128, 128], PLANE, ONE, false),
    (32, 16, [16, 128, 128], PLANE, ONE, false),
    (16, 14, [16, 128, 128], ONE, ONE, false),
    (16, 32, [16, 128, 128], PLANE, DOWN, false),
    (32, 32, [16, 64, 64], PLANE, ONE, false),
    (64, 32, [16, 64, 64], PLANE, ONE, false),
    (32, 64, [16, 64, 64], CUBE, DOWN, false),
    (64, 64, [16, 32, 32], CUBE, ONE, false),
    (128, 64, [16, 32, 32], CUBE, ONE, false),
    (64, 128, [16, 32, 32], CUBE, TWO, false),
    (128, 128, [8, 16, 16], CUBE, ONE, false),
    (256, 128, [8, 16, 16], CUBE, ONE, false),
    (128, 128, [4, 8, 8], CUBE, ONE, false),
    (80, 80, [8, 16, 16], CUBE, ONE, false),
    (160, 80, [8, 16, 16], CUBE, ONE, false),
    (48, 48, [16, 16, 16], CUBE, ONE, false),
    (128, 64, [8, 16, 16], TWO, TWO, true),
    (64, 32, [16, 32, 32], DOWN, DOWN, true),
    (32, 16, [16, 64, 64], DOWN, DOWN, true),
];

fn layer(&(inputs, outputs, size, kernel, stride, transposed): &Row) -> Layer {
    Layer { inputs, outputs, size, kernel, stride, transposed }
}

fn name(layer: &Layer) -> String {
    let Layer { inputs, outputs, size, kernel, stride, transposed } = layer;
    let arrow = if *transposed { "=>" } else { "->" };
    format!("{inputs}{arrow}{outputs} {size:?} by {kernel:?}/{stride:?}")
}

/// Runs one layer; the fastest sample, in operations a nanosecond.
fn one(group: &mut BenchmarkGroup<'_, WallTime>, layer: &Layer, precision: Precision) -> f64 {
    let options = Options { precision, ..Options::default() };
    let network = Network::load(&layer.file(), &options).unwrap();
    let count = |shape: [usize; 4]| shape.iter().product::<usize>();
    let patch = vec![0.5; count(network.input_shape())];
    let mut made = vec![0.0; count(network.output_shape())];
    let (mut scratch, mut best) = (network.scratch(), f64::MAX);
    group.throughput(Throughput::Elements(layer.operations() as u64));
    group.bench_function(BenchmarkId::from_parameter(name(layer)), |bencher| {
        bencher.iter_custom(|times| {
            let start = Instant::now();
            (0..times).for_each(|_| network.run(black_box(&patch), &mut made, &mut scratch));
            let taken = start.elapsed();
            best = best.min(taken.as_secs_f64() / times as f64);
            taken
        });
    });
    layer.operations() as f64 / best / 1e9
}

/// Each row's figures, one per precision.
fn all(criterion: &mut Criterion, precision: Precision, name: &str) -> Vec<f64> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_millis(500));
    let found = LAYERS.iter().map(|row| one(&mut group, &layer(row), precision)).collect();
    group.finish();
    found
}

fn layers(criterion: &mut Criterion) {
    let half = Level::widest().has_bf16();
    let precisions = [("f32", Precision::F32, true), ("bf16", Precision::Bf16, half)];
    let found: Vec<(&str, f64, Vec<f64>)> = precisions
        .into_iter()
        .filter(|&(.., there)| there)
        .map(|(name, precision, _)| {
            let peak = peak::gflops(precision, 1);
            (name, peak, all(criterion, precision, name))
        })
        .collect();
    let mut table = String::from("\n| layer");
    found.iter().for_each(|(name, peak, _)| {
        let _ = write!(table, " | {name} GFLOP/s | of {peak:.0} %");
    });
    let _ = write!(table, " |\n|---{}|", "|---|---".repeat(found.len()));
    for (at, row) in LAYERS.iter().enumerate() {
        let _ = write!(table, "\n| {}", name(&layer(row)));
        for (_, peak, figures) in &found {
            let _ = write!(table, " | {:.0} | {:.0}", figures[at], figures[at] / peak * 100.0);
        }
        table.push_str(" |");
    }
    println!("{table}");
}

criterion_group!(benches, layers);
criterion_main!(benches);
