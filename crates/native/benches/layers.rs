//! Every layer shape of the shipped networks and of the one that is compared with nnU-Net, alone
//! on one thread: GFLOP/s, beside the peak that this processor reaches at that moment.
//!
//! Operations are those of the definition; Winograd's filters do fewer, and so may pass the peak.
//! The patch enters and the logits leave within the time: a layer within a network is faster.

#![allow(clippy::unwrap_used, reason = "a bench may stop")]

#[path = "../tests/written/mod.rs"]
mod written;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hepalert_native::{Network, Options};
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

/// The fastest that multiplications and sums of this processor go: a layer whose input and
/// weights stay in the first cache, by plain products.
fn peak() -> f64 {
    let layer = layer(&(64, 64, [1, 8, 64], [1, 1, 7], ONE, false));
    let network = Network::load(&layer.file(), &Options::default()).unwrap();
    let (patch, mut scratch) = (vec![0.5; 64 * 8 * 64], network.scratch());
    let mut made = vec![0.0; 64 * 8 * 64];
    let mut best = f64::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        network.run(&patch, &mut made, &mut scratch);
        best = best.min(start.elapsed().as_secs_f64());
    }
    layer.operations() as f64 / best / 1e9
}

fn layer(&(inputs, outputs, size, kernel, stride, transposed): &Row) -> Layer {
    Layer { inputs, outputs, size, kernel, stride, transposed }
}

fn layers(criterion: &mut Criterion) {
    println!("plain products within the first cache: {:.0} GFLOP/s on one thread", peak());
    let mut group = criterion.benchmark_group("layers");
    group.sample_size(10).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    for row in &LAYERS {
        let layer = layer(row);
        let network = Network::load(&layer.file(), &Options::default()).unwrap();
        let count = |shape: [usize; 4]| shape.iter().product::<usize>();
        let patch = vec![0.5; count(network.input_shape())];
        let mut made = vec![0.0; count(network.output_shape())];
        let mut scratch = network.scratch();
        group.throughput(Throughput::Elements(layer.operations() as u64));
        let arrow = if layer.transposed { "=>" } else { "->" };
        let (size, kernel) = (layer.size, layer.kernel);
        let name = format!("{}{arrow}{} {size:?} by {kernel:?}/{:?}", row.0, row.1, row.4);
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| network.run(black_box(&patch), &mut made, &mut scratch));
        });
    }
    group.finish();
}

criterion_group!(benches, layers);
criterion_main!(benches);
