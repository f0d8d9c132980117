//! Every stage by itself, and a whole alignment against volume size.
//!
//! `cargo bench -p hepalert-register`. Elements are voxels: the cost per voxel of a stage must not
//! grow with the volume.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hepalert_register::affine::{Affine, Freedom};
use hepalert_register::align::Settings;
use hepalert_register::cost::{Reachable, Search, block_costs};
use hepalert_register::deform::{DeformParams, deform, described};
use hepalert_register::descriptor::{COMPARED, describe};
use hepalert_register::field::Field;
use hepalert_register::isotropic::isotropic;
use hepalert_register::lattice::Lattice;
use hepalert_register::map::Map;
use hepalert_register::matching::find;
use hepalert_register::messages::choose;
use hepalert_register::parabola::{Bend, Transform, brute, envelope};
use hepalert_register::quality::{descriptor_distance, jacobian};
use hepalert_register::tree::spanning_tree;
use hepalert_register::warp::Image;
use hepalert_voxels::volume::{Grid, Volume};
use ndarray::Array3;
use std::hint::black_box;
use std::sync::Arc;

/// Smooth texture with the values of soft tissue.
fn image(edge: usize, shift: f32) -> Array3<f32> {
    Array3::from_shape_fn((edge, edge, edge), |(z, y, x)| {
        let [z, y, x] = [z, y, x].map(|i| i as f32 + shift);
        let grain = ((z * 12.9 + y * 78.2 + x * 37.7).sin() * 43_758.547).fract();
        40.0 + 60.0 * ((z / 9.0).sin() + (y / 11.0).cos() * (x / 7.0).sin()) + 10.0 * grain
    })
}

fn stages(c: &mut Criterion) {
    let edge = 96;
    let (fixed, moving) = (image(edge, 0.0), image(edge, 2.5));
    let lattice = Lattice::new([edge; 3], 6);
    let search = Search { radius: 4, quant: 3 };
    let (a, b) = (describe(fixed.view(), 2), describe(moving.view(), 2));
    let tree = spanning_tree(fixed.view(), &lattice);
    let mut group = c.benchmark_group("stage");
    group.sample_size(10).throughput(Throughput::Elements(edge.pow(3) as u64));
    group.bench_function("describe", |bench| bench.iter(|| describe(black_box(fixed.view()), 2)));
    group.bench_function("spanning_tree", |bench| {
        bench.iter(|| spanning_tree(black_box(fixed.view()), &lattice));
    });
    let mut costs = vec![0_u16; lattice.len() * search.labels()];
    group.bench_function("block_costs", |bench| {
        bench.iter(|| {
            let reachable = Reachable::new(&b, search);
            let mut slots = tree.slots(&mut costs, search.labels());
            block_costs(&a, &reachable, &lattice, search, 0.5, None, &mut slots);
        });
    });
    let before = vec![[0.0; 3]; lattice.len()];
    group.bench_function("choose", |bench| {
        bench.iter(|| choose(&tree, search, &mut costs.clone(), &before));
    });
    let (field, moving) = (Field::zero(lattice), Image::whole(moving));
    group.bench_function("warp", |bench| {
        bench.iter(|| moving.warped(black_box(&Affine::IDENTITY), &field));
    });
    let certainty = vec![[1.0; 3]; lattice.len()];
    group.bench_function("regularise", |bench| {
        bench.iter(|| field.clone().regularise(black_box(&certainty), 0.6));
    });
    group.bench_function("make_consistent", |bench| {
        bench.iter(|| field.clone().make_consistent(&mut field.clone(), 10));
    });
    group.bench_function("jacobian", |bench| bench.iter(|| jacobian(black_box(&field))));
    let fixed = Image::whole(fixed);
    group.bench_function("descriptor_distance", |bench| {
        bench.iter(|| {
            let moving = black_box(&moving);
            descriptor_distance(&fixed, &a, moving, &described(moving, COMPARED))
        });
    });
    let rigid = Settings::default().rigid;
    group.bench_function("rigid", |bench| {
        bench.iter(|| find(&fixed, &moving, Affine::IDENTITY, &rigid, Freedom::Rigid));
    });
    group.finish();
}

/// From a scan to cubes and a result back to its grid; elements are voxels of the scan.
fn scans(c: &mut Criterion) {
    let shape = [40, 256, 256];
    let grid = Arc::new(Grid::axial(shape, [5.0, 0.8, 0.8], [0.0; 3]));
    let wave =
        |(z, y, x): (usize, usize, usize)| 50.0 * ((z + y) as f32 / 9.0).sin() + x as f32 / 8.0;
    let scan = Volume::new(Arc::clone(&grid), Array3::from_shape_fn(shape, wave));
    let whole = shape.map(|n| 0..n);
    let mut group = c.benchmark_group("scan");
    group.sample_size(10).throughput(Throughput::Elements(shape.iter().product::<usize>() as u64));
    group.bench_function("isotropic", |bench| {
        bench.iter(|| isotropic(black_box(&scan), &whole, 2.0))
    });
    let map = Map::identity(&grid);
    group.bench_function("map", |bench| bench.iter(|| map.warp(black_box(&scan), &grid)));
    group.finish();
}

/// One message over 13^3 labels in three forms; costs as they come in practice.
fn messages(c: &mut Criterion) {
    let side = 13;
    let cost = |label: usize| 128.0 * (3.0 + 2.0 * (label as f32 * 0.37).sin());
    let costs: Vec<u16> = (0..side * side * side).map(|label| cost(label) as u16).collect();
    let line: Vec<f32> = costs[..side].iter().map(|c| f32::from(*c) / 128.0).collect();
    let mut group = c.benchmark_group("message");
    group.throughput(Throughput::Elements(costs.len() as u64));
    let bends = [Bend::new(side, 0.3), Bend::new(side, -0.2), Bend::new(side, 0.0)];
    let (mut transform, mut out) = (Transform::new(side), vec![0_u16; costs.len()]);
    group.bench_function("registers", |bench| {
        bench.iter(|| {
            transform.add_message(black_box(&costs), 60_000, &bends, &mut out);
            out.fill(0);
        });
    });
    // Every label is in three lines.
    let lines = 3 * side * side;
    group.bench_function("lower_envelope", |bench| {
        bench.iter(|| (0..lines).map(|_| envelope(black_box(&line), 0.3)[0]).sum::<f32>());
    });
    group.bench_function("brute", |bench| {
        bench.iter(|| (0..lines).map(|_| brute(black_box(&line), 0.3)[0]).sum::<f32>());
    });
    group.finish();
}

fn sizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("deform");
    group.sample_size(10);
    for edge in [48, 64, 96, 128] {
        let (fixed, moving) = (Image::whole(image(edge, 0.0)), Image::whole(image(edge, 2.5)));
        group.throughput(Throughput::Elements(edge.pow(3) as u64));
        group.bench_function(format!("{edge}^3"), |bench| {
            bench.iter(|| deform(&fixed, &[(&moving, Affine::IDENTITY)], &DeformParams::phases()));
        });
    }
    group.finish();
}

criterion_group!(benches, stages, scans, messages, sizes);
criterion_main!(benches);
