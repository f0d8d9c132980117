//! Every reader of bytes that we did not write, as the fuzzers and `tests/it/mutations.rs` call it:
//! any bytes end in a value or a sentence. One function a target.
#![allow(dead_code, reason = "each target calls one")]
#![allow(clippy::unwrap_used, reason = "what stands around the bytes is ours")]

use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

use hepalert::config::Config;
use hepalert::publish::messages::Command;
use hepalert_bundles::package::Package;
use hepalert_bundles::signature::Trust;
use hepalert_bundles::{Bundle, MANIFEST};
use hepalert_labels::cases::entry::Entry;
use hepalert_labels::cases::names;
use hepalert_labels::monai::multipart;
use hepalert_labels::{Context, Labelling, Operation};
use hepalert_native::{Network, Options};
use hepalert_voxels::volume::dicom::read as slices;
use hepalert_voxels::volume::nifti::read as images;
use hepalert_voxels::volume::{Grid, Volume};
use tempfile::TempDir;

pub(crate) mod masks;
pub(crate) mod page;
pub(crate) mod peers;

thread_local! {
    // Not static: what is static is never removed.
    static FOLDER: TempDir = TempDir::new().unwrap();
}
/// Fuzzers and tests run in the root of the repository.
static TRUST: LazyLock<Trust> =
    LazyLock::new(|| Trust::read(Path::new("fuzz/corpus/keys"), 1).unwrap());

/// A NIfTI file, as it lies in an export folder: first its head alone, then all of it.
pub(super) fn nifti(bytes: &[u8]) {
    // What is large and right is slow: the gate bounds it before it is read.
    if images::peek(bytes).is_ok_and(|facts| facts.grid.voxels() < 1 << 20) {
        let _ = images::read(bytes);
        let _ = images::read_labels(bytes);
    }
}

/// One DICOM file of any transfer syntax: its header, then its pixels.
pub(super) fn dicom(bytes: &[u8]) {
    let _ = slices::read_header(bytes);
    let _ = slices::read_slice(bytes);
}

/// A slice in each transfer syntax: the first byte names the syntax, the others are what is
/// encoded by it. So nobody need guess what stands around.
pub(super) fn syntaxes(bytes: &[u8]) {
    if let Some((first, encoded)) = bytes.split_first() {
        dicom(&slice(usize::from(*first) % SYNTAXES.len(), encoded));
    }
}

/// The manifest of an engine bundle.
pub(super) fn manifest(bytes: &[u8]) {
    FOLDER.with(|folder| {
        std::fs::write(folder.path().join(MANIFEST), bytes).unwrap();
        let _ = Bundle::open(folder.path());
    });
}

/// A packed engine: what a USB stick or an update folder brings, before any signature is known good.
pub(super) fn package(bytes: &[u8]) {
    if let Ok(package) = Package::read(Cursor::new(bytes), bytes.len() as u64, &TRUST) {
        let _ = package.check();
    }
}

/// The signatures of a manifest: the manifest stays, its signature file is whatever comes.
pub(super) fn signature(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = TRUST.verify(b"another manifest", text);
    }
}

/// A configuration file.
pub(super) fn config(bytes: &[u8]) {
    FOLDER.with(|folder| {
        let file = folder.path().join("hepalert.toml");
        std::fs::write(&file, bytes).unwrap();
        let _ = Config::read(&file);
    });
}

/// The embedded engine's reader of networks.
pub(super) fn onnx(bytes: &[u8]) {
    let _ = Network::load(bytes, &Options::default());
}

/// A command from the broker: the first byte names it, the others are its body.
pub(super) fn command(bytes: &[u8]) {
    if let Some((first, body)) = bytes.split_first() {
        let name = ["ping", "ack", "replay", "reprocess", "other"][usize::from(*first) % 5];
        let Ok(arguments) = serde_json::from_slice(body) else { return };
        let _ = Command::read(name, arguments);
    }
}

/// What a page or another program sends to the labels of an image of 3 x 4 x 5 voxels: the first byte
/// says what the others are.
pub(super) fn labels(bytes: &[u8]) {
    const SHAPE: [usize; 3] = [3, 4, 5];
    let Some((first, rest)) = bytes.split_first() else { return };
    match first % 4 {
        0 => edit(rest, SHAPE),
        1 => drop(multipart::parse("multipart/form-data; boundary=x", rest)),
        2 => drop(serde_json::from_slice::<Entry>(rest)),
        _ => {
            if let Ok(text) = std::str::from_utf8(rest) {
                let _ = names::stem(text).map(names::name);
            }
        }
    }
}

/// An operation on a map with a lesion in a liver; undone, nothing of it may be left.
fn edit(text: &[u8], shape: [usize; 3]) {
    let Ok(operation) = serde_json::from_slice::<Operation>(text) else { return };
    let grid = std::sync::Arc::new(Grid::axial(shape, [5.0, 0.8, 0.8], [0.0; 3]));
    let voxels = ndarray::Array3::from_shape_fn(shape, |(z, y, x)| match (z, y, x) {
        (_, 1..=2, 1..=2) => 1,
        (0, 3, 4) => 3,
        (2, ..) => 0,
        _ => 7,
    });
    let image = Volume::new(grid.clone(), voxels.mapv(|label| f32::from(label) * 10.0));
    let mut labelling = Labelling::new(Volume::new(grid, voxels.clone()));
    let other = labelling.map().clone();
    let context = Context { image: Some(&image), other: Some(&other) };
    match labelling.apply(&operation, context) {
        Ok(change) if !change.is_empty() => assert!(labelling.undo().is_some()),
        Ok(_) | Err(_) => {}
    }
    assert_eq!(labelling.map().voxels(), &voxels);
}

/// All that are read or refused by name. The first four encode the whole data set, the others a
/// frame of it.
const SYNTAXES: [&str; 21] = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.1.98",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.53",
    "1.2.840.10008.1.2.4.55",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.4.110",
    "1.2.840.10008.1.2.4.92",
];
const OF_DATA_SETS: usize = 4;
/// Rows and columns.
const SIDE: u16 = 16;

fn element(bytes: &mut Vec<u8>, (group, number): (u16, u16), vr: &[u8; 2], value: &[u8]) {
    bytes.extend(group.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.extend(vr);
    let length = value.len() + value.len() % 2;
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(value);
    if value.len() % 2 == 1 {
        bytes.push(if vr == b"UI" { 0 } else { b' ' });
    }
}

/// What a slice says of itself, up to its pixels.
fn head(bytes: &mut Vec<u8>) {
    for (tag, vr, value) in [
        ((0x0008, 0x0008), b"CS", &b"ORIGINAL\\PRIMARY\\AXIAL"[..]),
        ((0x0008, 0x0016), b"UI", b"1.2.840.10008.5.1.4.1.1.2"),
        ((0x0008, 0x0018), b"UI", b"1.2.3.4"),
        ((0x0008, 0x0060), b"CS", b"CT"),
        ((0x0020, 0x000d), b"UI", b"1.2.3"),
        ((0x0020, 0x000e), b"UI", b"1.2.3.1"),
        ((0x0020, 0x0032), b"DS", b"0\\0\\0"),
        ((0x0020, 0x0037), b"DS", b"1\\0\\0\\0\\1\\0"),
        ((0x0028, 0x0002), b"US", &1u16.to_le_bytes()),
        ((0x0028, 0x0004), b"CS", b"MONOCHROME2"),
        ((0x0028, 0x0010), b"US", &SIDE.to_le_bytes()),
        ((0x0028, 0x0011), b"US", &SIDE.to_le_bytes()),
        ((0x0028, 0x0030), b"DS", b"0.8\\0.8"),
        ((0x0028, 0x0100), b"US", &16u16.to_le_bytes()),
        ((0x0028, 0x0101), b"US", &12u16.to_le_bytes()),
        ((0x0028, 0x0102), b"US", &11u16.to_le_bytes()),
        ((0x0028, 0x0103), b"US", &0u16.to_le_bytes()),
        ((0x0028, 0x1052), b"DS", b"-1024"),
        ((0x0028, 0x1053), b"DS", b"1"),
    ] {
        element(bytes, tag, vr, value);
    }
}

fn slice(syntax: usize, encoded: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    element(&mut bytes, (0x0002, 0x0010), b"UI", SYNTAXES[syntax].as_bytes());
    if syntax < OF_DATA_SETS {
        bytes.extend(encoded);
        return bytes;
    }
    head(&mut bytes);
    bytes.extend([0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0, 0xff, 0xff, 0xff, 0xff]);
    bytes.extend([0xfe, 0xff, 0, 0xe0, 0, 0, 0, 0]);
    bytes.extend([0xfe, 0xff, 0, 0xe0]);
    bytes.extend(((encoded.len() + encoded.len() % 2) as u32).to_le_bytes());
    bytes.extend(encoded);
    bytes.resize(bytes.len() + encoded.len() % 2, 0);
    bytes.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    bytes
}
