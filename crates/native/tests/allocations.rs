//! A patch allocates nothing: all memory is there from the first one on.
//!
//! One test alone in its program, since what is counted is the whole program's.

#![allow(clippy::unwrap_used, reason = "tests only")]

use std::alloc::System;
use std::path::Path;

use hepalert_native::{Level, Network, Options, Precision};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The pool through which a patch reaches its threads takes a new block of its queue now and
/// then (seen: 1 to 9 within 100 patches), whatever a patch is. A buffer for each
/// patch would be a hundred allocations, for each operation some thousand.
const MAX_OF_POOL: usize = 40;
const BLOCK_BYTES: usize = 2048;

/// Allocations and bytes of some patches after the first.
fn allocated(network: &Network, patches: usize) -> (usize, usize) {
    let numbers = |shape: [usize; 4]| shape.iter().product::<usize>();
    let patch = vec![0.5; numbers(network.input_shape())];
    let mut logits = vec![0.0; numbers(network.output_shape())];
    let mut scratch = network.scratch();
    network.run(&patch, &mut logits, &mut scratch);
    let region = Region::new(GLOBAL);
    for _ in 0..patches {
        network.run(&patch, &mut logits, &mut scratch);
    }
    let found = region.change();
    (found.allocations + found.reallocations, found.bytes_allocated)
}

fn check(count: usize, bytes: usize) {
    assert!(count <= MAX_OF_POOL && bytes <= MAX_OF_POOL * BLOCK_BYTES, "{count} of {bytes} bytes");
}

#[test]
fn a_patch_allocates_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tiny = std::fs::read(root.join("tests/data/segment/tiny.onnx")).unwrap();
    let demo = std::fs::read(root.join("engines/venous-demo/segment.onnx")).unwrap();
    let widest = Level::widest();
    let precisions = [(Precision::F32, true), (Precision::Bf16, widest.has_bf16())];
    for (precision, _) in precisions.into_iter().filter(|(_, there)| *there) {
        for threads in [1, 2, 3] {
            let options = Options { threads, precision, level: widest };
            let network = Network::load(&tiny, &options).unwrap();
            let (count, bytes) = allocated(&network, 100);
            println!("{precision:?}, {threads} threads, 100 small: {count} of {bytes} bytes");
            check(count, bytes);
        }
        let options = Options { threads: 2, precision, level: widest };
        let network = Network::load(&demo, &options).unwrap();
        let (count, bytes) = allocated(&network, 2);
        println!("{precision:?}, 2 large: {count} of {bytes} bytes");
        check(count, bytes);
    }
}
