//! Ten thousand damaged inputs for every reader of bytes from outside, the same each time: each
//! is read or refused, none ends the process, none takes long or much memory. The readers are the
//! fuzzers' own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hepalert::analyze::peak_memory_mib;
use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_study::phase::Setting;
use hepalert_voxels::volume::dicom::read::read_header;
use hepalert_voxels::volume::{Grid, Volume, nifti};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[path = "../../fuzz/readers.rs"]
mod readers;

const COUNT: usize = 10_000;
/// Longest time for one input.
const LONGEST: Duration = Duration::from_secs(5);
/// Most memory, of them all.
const MAX_MIB: f64 = 2048.0;

/// Some bytes changed, cut out, doubled or put in.
fn damage(seed: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..bytes.len().max(1)).min(bytes.len());
        let end = (at + rng.random_range(1..32)).min(bytes.len());
        match rng.random_range(0..7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => bytes[at..end].fill([0, 0x7f, 0x80, 0xff][rng.random_range(0..4)]),
            4 => rng.fill_bytes(&mut bytes[at..end]),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

fn try_all(name: &str, seeds: &[Vec<u8>], read: fn(&[u8])) {
    assert!(!seeds.is_empty(), "{name}: nothing to damage");
    let (mut rng, start) = (ChaCha8Rng::seed_from_u64(7), Instant::now());
    for number in 0..COUNT {
        let bytes = damage(&seeds[number % seeds.len()], &mut rng);
        let began = Instant::now();
        read(&bytes);
        assert!(began.elapsed() < LONGEST, "{name}: input {number} took {:?}", began.elapsed());
    }
    println!(
        "{name}: {:.1} s, at most {:.0} MiB",
        start.elapsed().as_secs_f64(),
        peak_memory_mib()
    );
}

/// All files of a folder.
fn all_in(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
    files.sort();
    files.into_iter().filter(|file| file.is_file()).map(|file| fs::read(file).unwrap()).collect()
}

fn images() -> Vec<Vec<u8>> {
    let grid = std::sync::Arc::new(Grid::axial([4, 6, 5], [5.0, 0.8, 0.8], [0.0; 3]));
    let voxels =
        ndarray::Array3::from_shape_fn((4, 6, 5), |(z, y, x)| (z * 100 + y * 10 + x) as i16);
    let packed = nifti::write::write_i16(&Volume::new(grid, voxels));
    let mut plain = Vec::new();
    let mut unpacked = flate2::read::MultiGzDecoder::new(&packed[..]);
    std::io::Read::read_to_end(&mut unpacked, &mut plain).unwrap();
    vec![plain.clone(), packed, plain]
}

fn slices() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let patient = generate(1, Case::Normal, Setting::Venous, Size { pixels: 64, slices: Some(8) });
    let files = hepalert::cli::phantom::write_series(&patient, dir.path()).unwrap();
    let mut found: Vec<Vec<u8>> =
        files.iter().take(1).map(|file| fs::read(file).unwrap()).collect();
    // Every compression that there is a small file of, here or beside the checkout.
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/volume");
    let syntaxes = crate::support::shared_data().map(|data| data.join("dicom-syntaxes"));
    let folders = syntaxes.into_iter().chain([here]);
    let more = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    for entry in more.flatten().filter(|entry| entry.path().is_file()) {
        let bytes = fs::read(entry.path()).unwrap();
        if bytes.len() < 40_000 && read_header(&bytes).is_ok() {
            found.push(bytes);
        }
    }
    // In whatever order they are listed.
    found.sort();
    found
}

/// In a process of its own: its memory is what they took, and nothing else.
#[test]
fn ten_thousand_damaged_inputs_are_refused_or_read() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "mutations::child_reads_damaged_inputs", "--ignored", "--nocapture"]);
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let faults = String::from_utf8_lossy(&output.stderr);
    let last: String = faults.lines().rev().take(20).collect::<Vec<_>>().join("\n");
    assert!(output.status.success(), "{}: {said}{last}", output.status);
    let most = said.lines().find_map(|line| line.strip_prefix("peak: ")).expect("it says so");
    println!("{said}");
    assert!(most.parse::<f64>().unwrap() < MAX_MIB, "{most} MiB");
}

/// Not a test by itself: the process whose memory is measured.
#[test]
#[ignore = "run as a child by the test above"]
fn child_reads_damaged_inputs() {
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reclassify/bundle");
    let networks = ["segment.onnx", "reclassify.onnx"];
    let networks = networks.map(|name| fs::read(bundle.join(name)).unwrap()).to_vec();
    try_all("nifti", &images(), readers::nifti);
    try_all("dicom", &slices(), readers::dicom);
    try_all("syntaxes", &all_in("fuzz/corpus/syntaxes"), readers::syntaxes);
    try_all("package", &all_in("fuzz/corpus/package"), readers::package);
    try_all("signature", &all_in("fuzz/corpus/signature"), readers::signature);
    try_all("manifest", &all_in("fuzz/corpus/manifest"), readers::manifest);
    try_all("onnx", &networks, readers::onnx);
    try_all("config", &all_in("config"), readers::config);
    try_all("labels", &all_in("fuzz/corpus/labels"), readers::labels);
    try_all("command", &all_in("fuzz/corpus/command"), readers::command);
    try_all("association", &all_in("fuzz/corpus/association"), readers::peers::association);
    try_all("answers", &all_in("fuzz/corpus/answers"), readers::peers::answers);
    try_all("bodies", &all_in("fuzz/corpus/bodies"), readers::page::bodies);
    try_all("segmentation", &all_in("tests/data/volume"), readers::masks::segmentation);
    println!("\npeak: {}", peak_memory_mib());
}
