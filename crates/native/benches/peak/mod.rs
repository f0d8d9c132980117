//! How fast this processor multiplies and adds at most, measured where it is asked for.
//!
//! Layers whose input and weights stay in a core's own caches and whose products far outnumber
//! what is read and written; the fastest of them counts.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use hepalert_native::{Network, Options, Precision};

use crate::written::Layer;

/// Long enough for clocks to rise, short enough not to heat.
const MEASURED: Duration = Duration::from_millis(300);

/// Thousand million operations a second, on so many threads at once.
pub(crate) fn gflops(precision: Precision, threads: usize) -> f64 {
    let shapes = [(32, 32, [1, 5, 7]), (64, 32, [1, 5, 7]), (16, 32, [1, 7, 9])];
    let of = |&(inputs, outputs, kernel): &(usize, usize, [usize; 3])| {
        let size = [1, 8, 64];
        let layer = Layer { inputs, outputs, size, kernel, stride: [1; 3], transposed: false };
        together(&layer, precision, threads)
    };
    shapes.iter().map(of).fold(0.0, f64::max)
}

/// All threads begin together, each with a network of its own; the sum of their best.
fn together(layer: &Layer, precision: Precision, threads: usize) -> f64 {
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        let alone = || {
            start.wait();
            best(layer, precision)
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(alone)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

fn best(layer: &Layer, precision: Precision) -> f64 {
    let options = Options { precision, ..Options::default() };
    let network = Network::load(&layer.file(), &options).unwrap();
    let count = |shape: [usize; 4]| shape.iter().product::<usize>();
    let (patch, mut scratch) = (vec![0.5; count(network.input_shape())], network.scratch());
    let mut made = vec![0.0; count(network.output_shape())];
    let (begun, mut best) = (Instant::now(), f64::MAX);
    while begun.elapsed() < MEASURED {
        let run = Instant::now();
        network.run(&patch, &mut made, &mut scratch);
        best = best.min(run.elapsed().as_secs_f64());
    }
    layer.operations() as f64 / best / 1e9
}
