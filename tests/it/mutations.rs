//! Ten thousand damaged inputs for every reader of bytes from outside, the same each time: each
//! is read or refused, none ends the process, none takes long. `fuzz/` has the same readers for a
//! fuzzer.

use std::time::{Duration, Instant};

use hepalert::config::Config;
use hepalert::publish::messages::Command;
use hepalert_bundles::package::{self, Package};
use hepalert_bundles::signature::Trust;
use hepalert_bundles::{Bundle, signing};
use hepalert_lab::phantom::{Case, Size, generate};
use hepalert_study::study::Setting;
use hepalert_voxels::volume::dicom::read::{read_header, read_slice};
use hepalert_voxels::volume::nifti::read::{peek, read, read_labels};
use hepalert_voxels::volume::{Grid, Volume, nifti};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const COUNT: usize = 10_000;
/// Longest time for one input.
const LONGEST: Duration = Duration::from_secs(5);

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

fn try_all(name: &str, seeds: &[Vec<u8>], read: impl Fn(&[u8])) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for number in 0..COUNT {
        let bytes = damage(&seeds[number % seeds.len()], &mut rng);
        let began = Instant::now();
        read(&bytes);
        assert!(began.elapsed() < LONGEST, "{name}: input {number} took {:?}", began.elapsed());
    }
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
        files.iter().take(1).map(|file| std::fs::read(file).unwrap()).collect();
    // Every compression that there is a small file of, here or beside the checkout.
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/volume");
    let syntaxes = crate::support::shared_data().map(|data| data.join("dicom-syntaxes"));
    let folders = syntaxes.into_iter().chain([here]);
    let more = folders.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten());
    for entry in more.flatten().filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        if bytes.len() < 40_000 && read_header(&bytes).is_ok() {
            found.push(bytes);
        }
    }
    found
}

#[test]
fn ten_thousand_damaged_inputs_are_refused_or_read() {
    try_all("nifti", &images(), |bytes| {
        // What is large and right is slow: the gate bounds it before it is read.
        if peek(bytes).is_ok_and(|facts| facts.grid.voxels() < 1 << 20) {
            let _ = read(bytes);
            let _ = read_labels(bytes);
        }
    });
    try_all("dicom", &slices(), |bytes| {
        let _ = read_header(bytes);
        let _ = read_slice(bytes);
    });
    let dir = tempfile::tempdir().unwrap();
    let keys = signing::keygen(None, "a test").unwrap();
    std::fs::create_dir(dir.path().join("keys")).unwrap();
    std::fs::write(dir.path().join("keys/maker.pub"), &keys.public).unwrap();
    let bundle =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reclassify/bundle");
    let out = dir.path().join("linear.hepengine");
    package::pack(&bundle, &out).unwrap();
    signing::sign(&out, &keys.secret, None).unwrap();
    let trust = Trust::read(&dir.path().join("keys"), 1).unwrap();
    try_all("package", &[std::fs::read(&out).unwrap()], |bytes| {
        if let Ok(package) = Package::read(bytes, bytes.len() as u64, &trust) {
            let _ = package.check();
        }
    });
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let maker = Trust::read(&corpus.join("keys"), 1).unwrap();
    let signature = std::fs::read(corpus.join("signature/tiny.minisig")).unwrap();
    try_all("signature", &[signature], |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = maker.verify(b"another manifest", text);
        }
    });
    let networks = ["segment.onnx", "reclassify.onnx"].map(|name| std::fs::read(bundle.join(name)));
    try_all("network", &networks.map(Result::unwrap), |bytes| {
        let _ = hepalert_native::Network::load(bytes, &hepalert_native::Options::default());
    });
    let manifest = std::fs::read(bundle.join("manifest.json")).unwrap();
    try_all("manifest", &[manifest], |bytes| {
        std::fs::write(dir.path().join("manifest.json"), bytes).unwrap();
        let _ = Bundle::open(dir.path());
    });
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/hepalert.toml");
    try_all("config", &[std::fs::read(shipped).unwrap()], |bytes| {
        std::fs::write(dir.path().join("hepalert.toml"), bytes).unwrap();
        let _ = Config::read(&dir.path().join("hepalert.toml"));
    });
    let command =
        br#"{"id":"7f1c0000-0000-4000-8000-000000000001","by":"reader","from_seq":1,"to_seq":9}"#;
    try_all("command", &[command.to_vec()], |bytes| {
        for name in ["ping", "ack", "replay", "other"] {
            let _ = Command::read(name, bytes);
        }
    });
}
