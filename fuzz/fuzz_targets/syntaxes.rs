//! A slice in each transfer syntax: the first byte names the syntax, the others are what is
//! encoded by it. So the fuzzer need not guess what stands around.
#![no_main]

use hepalert_voxels::volume::dicom;
use libfuzzer_sys::fuzz_target;

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

fuzz_target!(|bytes: &[u8]| {
    let Some((first, encoded)) = bytes.split_first() else { return };
    let whole = slice(usize::from(*first) % SYNTAXES.len(), encoded);
    let _ = dicom::read_header(&whole);
    let _ = dicom::read_slice(&whole);
});
