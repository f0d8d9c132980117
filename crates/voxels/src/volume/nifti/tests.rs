//! Files made here byte by byte: what is refused, by which name, and what is read of every
//! datatype in both byte orders and both versions.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::read::{NiftiError, peek, read, read_labels};

/// A header and voxels; written in either byte order as either version.
#[derive(Clone)]
struct File {
    version: u8,
    big_endian: bool,
    dim: [i64; 8],
    /// Code of the standard.
    datatype: i16,
    pixdim: [f64; 8],
    vox_offset: f64,
    scaling: [f64; 2],
    units: u8,
    /// qform, sform.
    codes: [i16; 2],
    quatern: [f64; 6],
    srow: [[f64; 4]; 3],
    magic: Option<&'static [u8]>,
    voxels: Vec<u8>,
}

/// 2 x 2 x 2 voxels of `u8`, 0 to 7, 0.5 x 0.5 x 2 mm.
fn small() -> File {
    File {
        version: 1,
        big_endian: false,
        dim: [3, 2, 2, 2, 1, 1, 1, 1],
        datatype: 2,
        pixdim: [1.0, 0.5, 0.5, 2.0, 0.0, 0.0, 0.0, 0.0],
        vox_offset: 0.0,
        scaling: [0.0, 0.0],
        units: 2,
        codes: [0, 1],
        quatern: [0.0; 6],
        srow: [[-0.5, 0.0, 0.0, 10.0], [0.0, -0.5, 0.0, 20.0], [0.0, 0.0, 2.0, 30.0]],
        magic: None,
        voxels: (0..8).collect(),
    }
}

impl File {
    fn with(change: impl FnOnce(&mut File)) -> Vec<u8> {
        let mut file = small();
        change(&mut file);
        file.bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        let size = if self.version == 1 { 352 } else { 544 };
        let mut bytes = vec![0; size];
        let mut put = |at: usize, raw: &[u8]| {
            let end = at + raw.len();
            bytes[at..end].copy_from_slice(raw);
            if self.big_endian {
                bytes[at..end].reverse();
            }
        };
        let one = self.version == 1;
        put(0, &(size as i32 - 4).to_le_bytes());
        // Places of a real number in the two versions.
        let mut real = |at1: usize, at2: usize, index: usize, value: f64| {
            if one {
                put(at1 + 4 * index, &(value as f32).to_le_bytes());
            } else {
                put(at2 + 8 * index, &value.to_le_bytes());
            }
        };
        (0..8).for_each(|i| real(76, 104, i, self.pixdim[i]));
        (0..2).for_each(|i| real(112, 176, i, self.scaling[i]));
        (0..6).for_each(|i| real(256, 352, i, self.quatern[i]));
        (0..12).for_each(|i| real(280, 400, i, self.srow[i / 4][i % 4]));
        put(if one { 70 } else { 12 }, &self.datatype.to_le_bytes());
        for i in 0..8 {
            match one {
                true => put(40 + 2 * i, &(self.dim[i] as i16).to_le_bytes()),
                false => put(16 + 8 * i, &self.dim[i].to_le_bytes()),
            }
        }
        for i in 0..2 {
            match one {
                true => put(252 + 2 * i, &self.codes[i].to_le_bytes()),
                false => put(344 + 4 * i, &i32::from(self.codes[i]).to_le_bytes()),
            }
        }
        match one {
            true => put(108, &(self.vox_offset as f32).to_le_bytes()),
            false => put(168, &(self.vox_offset as i64).to_le_bytes()),
        }
        match one {
            true => put(123, &[self.units]),
            false => put(500, &i32::from(self.units).to_le_bytes()),
        }
        let magic: &[u8] = if one { b"n+1\0" } else { b"n+2\0\r\n\x1a\n" };
        let at = if one { 344 } else { 4 };
        let magic = self.magic.unwrap_or(magic);
        bytes[at..at + magic.len()].copy_from_slice(magic);
        bytes.extend_from_slice(&self.voxels);
        bytes
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// The code of the refusal.
fn code(bytes: &[u8]) -> &'static str {
    read(bytes).expect_err("must be refused").code()
}

#[test]
fn every_datatype_is_read_in_both_orders_and_versions() {
    macro_rules! check {
        ($stored:ty, $code:literal, $low:expr, $high:expr) => {
            for (version, big_endian) in [(1, false), (1, true), (2, false), (2, true)] {
                let values: [$stored; 8] = [0, 1, 2, 3, 4, 5, 6, 7].map(|v| v as $stored);
                let mut values = values.to_vec();
                (values[0], values[7]) = ($low, $high);
                let raw = |value: &$stored| match big_endian {
                    true => value.to_be_bytes().to_vec(),
                    false => value.to_le_bytes().to_vec(),
                };
                let voxels: Vec<u8> = values.iter().flat_map(raw).collect();
                let file = File { version, big_endian, datatype: $code, voxels, ..small() };
                let volume = read(&file.bytes()).unwrap();
                let truth: Vec<f32> = values.iter().map(|value| *value as f32).collect();
                assert_eq!(volume.voxels().as_slice().unwrap(), truth, "{}", stringify!($stored));
                assert_eq!(volume.grid().ras_mm([1.0, 0.0, 0.0]), [10.0, 20.0, 32.0]);
            }
        };
    }
    check!(u8, 2, u8::MIN, u8::MAX);
    check!(i8, 256, i8::MIN, i8::MAX);
    check!(i16, 4, i16::MIN, i16::MAX);
    check!(u16, 512, u16::MIN, u16::MAX);
    check!(i32, 8, i32::MIN, i32::MAX);
    check!(u32, 768, u32::MIN, u32::MAX);
    check!(i64, 1024, i64::MIN, i64::MAX);
    check!(u64, 1280, u64::MIN, u64::MAX);
    check!(f32, 16, -1.5e9, 0.1);
    check!(f64, 64, -1.5e9, 0.1);
}

#[test]
fn x_is_the_last_axis() {
    let volume = read(&File::with(|_| {})).unwrap();
    assert_eq!(volume.voxels()[[0, 0, 1]], 1.0);
    assert_eq!(volume.voxels()[[0, 1, 0]], 2.0);
    assert_eq!(volume.voxels()[[1, 0, 0]], 4.0);
    assert_eq!(volume.grid().spacing_mm(), [2.0, 0.5, 0.5]);
}

#[test]
fn headers_that_are_no_volume_are_refused_by_name() {
    let refused = |change: fn(&mut File)| code(&File::with(change));
    assert_eq!(refused(|f| f.magic = Some(b"ni1\0")), "header_pair");
    assert_eq!(refused(|f| f.magic = Some(b"\0\0\0\0")), "not_nifti");
    assert_eq!(refused(|f| f.dim[0] = 2), "bad_dimensions");
    assert_eq!(refused(|f| f.dim[0] = 0), "bad_dimensions");
    assert_eq!(refused(|f| f.dim[0] = 8), "bad_dimensions");
    assert_eq!(refused(|f| (f.dim[0], f.dim[4]) = (4, 2)), "bad_dimensions");
    assert_eq!(refused(|f| f.dim[2] = -2), "bad_dimensions");
    assert_eq!(refused(|f| f.dim[3] = 0), "bad_dimensions");
    assert_eq!(refused(|f| f.dim = [3, 32767, 32767, 32767, 1, 1, 1, 1]), "too_large");
    assert_eq!(refused(|f| f.datatype = 128), "unsupported_datatype");
    assert_eq!(refused(|f| f.datatype = 1), "unsupported_datatype");
    assert_eq!(refused(|f| f.vox_offset = 100.0), "bad_offset");
    assert_eq!(refused(|f| f.vox_offset = 352.5), "bad_offset");
    assert_eq!(refused(|f| f.vox_offset = f64::NAN), "bad_offset");
    assert_eq!(refused(|f| f.vox_offset = 3e9), "bad_offset");
    assert_eq!(refused(|f| f.vox_offset = 400.0), "truncated");
    assert_eq!(refused(|f| f.scaling = [2.0, f64::NAN]), "bad_scaling");
    assert_eq!(refused(|f| f.pixdim[2] = 0.0), "bad_spacing");
    assert_eq!(refused(|f| f.pixdim[2] = f64::NAN), "bad_spacing");
    assert_eq!(refused(|f| f.pixdim[3] = 5.0), "spacing_disagrees");
    assert_eq!(refused(|f| f.srow[1][3] = f64::INFINITY), "bad_affine");
    assert_eq!(refused(|f| f.srow[1] = [0.0; 4]), "bad_affine");
    assert_eq!(refused(|f| f.srow[1][2] = 0.02), "non_orthonormal");
    assert_eq!(refused(|f| (f.codes, f.quatern[0]) = ([1, 0], 1.1)), "bad_affine");
    assert_eq!(code(b"hello, this is no image"), "not_nifti");
    assert_eq!(code(b""), "not_nifti");
    assert_eq!(code(&[0x1f, 0x8b]), "truncated");
}

#[test]
fn a_header_that_leaves_the_side_open_says_so() {
    // Half a turn about z: the qform of x to the left and y to the back.
    const TURNED: [f64; 6] = [0.0, 0.0, 1.0, 10.0, 20.0, 30.0];
    let uncertain = |change: fn(&mut File)| peek(&File::with(change)).unwrap().side_uncertain;
    assert!(!uncertain(|_| {}), "one transform, and it is set");
    assert!(!uncertain(|f| (f.codes, f.quatern) = ([1, 0], TURNED)));
    assert!(!uncertain(|f| (f.codes, f.quatern) = ([1, 1], TURNED)), "both agree");
    assert!(uncertain(|f| f.codes = [0, 0]), "no code: the usual order is a guess");
    assert!(uncertain(|f| f.codes = [1, 1]), "half a turn apart");
    let mirrored = |f: &mut File| {
        (f.codes, f.quatern) = ([2, 1], TURNED);
        f.srow[0][0] = 0.5;
    };
    assert!(uncertain(mirrored), "left and right exchanged");
}

#[test]
fn nifti_2_is_refused_by_the_same_names() {
    let refused = |change: fn(&mut File)| {
        code(&File::with(|file| {
            file.version = 2;
            change(file);
        }))
    };
    assert_eq!(refused(|f| f.magic = Some(b"ni2\0\r\n\x1a\n")), "header_pair");
    assert_eq!(refused(|f| f.magic = Some(b"n+2\0\n\n\x1a\n")), "not_nifti");
    assert_eq!(refused(|f| f.dim[1] = i64::MAX), "too_large");
    assert_eq!(refused(|f| f.dim = [3, i64::MAX, i64::MAX, i64::MAX, 1, 1, 1, 1]), "too_large");
    assert_eq!(refused(|f| f.dim[0] = i64::MIN), "bad_dimensions");
}

#[test]
fn values_that_are_no_numbers_or_no_labels_are_refused() {
    let float = |value: f32| {
        File::with(|f| {
            f.datatype = 16;
            f.voxels = [0.0, 1.0, 2.0, 3.0, value, 5.0, 6.0, 255.0].map(f32::to_le_bytes).concat();
        })
    };
    assert_eq!(code(&float(f32::NAN)), "not_finite");
    assert_eq!(code(&float(f32::NEG_INFINITY)), "not_finite");
    assert_eq!(read_labels(&float(4.0)).unwrap().voxels()[[1, 1, 1]], 255);
    for value in [0.5, -1.0, 256.0, f32::NAN] {
        assert_eq!(read_labels(&float(value)).unwrap_err().code(), "not_labels");
    }
}

#[test]
fn the_orientation_follows_nibabel() {
    let grid = |change: fn(&mut File)| read(&File::with(change)).unwrap().grid().clone();
    // A quarter turn about z as a qform, its third axis mirrored.
    let half = 0.5_f64.sqrt();
    let turned = File::with(|f| {
        (f.codes, f.pixdim[0]) = ([1, 0], -1.0);
        f.quatern = [0.0, 0.0, half, 1.0, 2.0, 3.0];
    });
    let turned = read(&turned).unwrap();
    for (index, truth) in [([0.0, 0.0, 1.0], [1.0, 2.5, 3.0]), ([1.0, 1.0, 0.0], [0.5, 2.0, 1.0])] {
        let point = turned.grid().ras_mm(index);
        assert!(point.iter().zip(truth).all(|(p, q)| (p - q).abs() < 1e-6), "{point:?}");
    }
    // The sform wins where both are set.
    let both = grid(|f| f.codes = [1, 1]);
    assert_eq!(both.ras_mm([0.0; 3]), [10.0, 20.0, 30.0]);
    // Neither: centred, x to the left.
    let neither = grid(|f| f.codes = [0, 0]);
    assert_eq!(neither.ras_mm([0.0; 3]), [0.25, -0.25, -1.0]);
    // Negative spacings are lengths; metres and micrometres are said in the units.
    let negative = grid(|f| f.pixdim[1] = -0.5);
    assert_eq!(negative.spacing_mm(), [2.0, 0.5, 0.5]);
    let microns = grid(|f| {
        f.units = 3;
        f.pixdim = f.pixdim.map(|p| p * 1000.0);
        f.srow = f.srow.map(|row| row.map(|entry| entry * 1000.0));
    });
    assert!(microns.matches(&both));
}

#[test]
fn gzip_is_told_by_its_bytes_and_verified() {
    let plain = small().bytes();
    let voxels = read(&plain).unwrap().into_voxels();
    let packed = gzip(&plain);
    assert_eq!(read(&packed).unwrap().into_voxels(), voxels);
    // Members, empty ones too, and padding.
    let members = [gzip(&plain[..100]), gzip(b""), gzip(&plain[100..]), vec![0; 999]].concat();
    assert_eq!(read(&members).unwrap().into_voxels(), voxels);
    // The trailer: checksum, length, missing bytes.
    for at in 1..=8 {
        let mut altered = packed.clone();
        let place = altered.len() - at;
        altered[place] ^= 1;
        assert_eq!(code(&altered), "corrupt_gzip", "byte {at} from the end");
    }
    for length in 2..packed.len() {
        assert_eq!(code(&packed[..length]), "truncated", "{length} bytes");
    }
    let mut garbage = packed.clone();
    garbage.extend_from_slice(b"\0\0garbage");
    assert_eq!(code(&garbage), "corrupt_gzip");
}

#[test]
fn a_file_of_more_than_its_header_says_is_refused() {
    let mut padded = small().bytes();
    padded.extend_from_slice(&[0; 4096]);
    assert!(read(&padded).is_ok());
    assert!(read(&gzip(&padded)).is_ok());
    padded.extend_from_slice(&vec![0; 20 << 20]);
    assert_eq!(code(&padded), "trailing_data");
    // A bomb: 20 MiB of zeros in 20 KiB, of which 64 KiB are inflated.
    assert_eq!(code(&gzip(&padded)), "trailing_data");
}

#[test]
fn a_header_that_promises_more_than_there_can_be_is_refused_before_allocation() {
    let huge = File::with(|f| (f.dim[1], f.dim[2], f.dim[3], f.datatype) = (512, 512, 4096, 64));
    assert_eq!(code(&huge), "truncated");
    assert_eq!(code(&gzip(&huge)), "truncated");
    assert_eq!(peek(&huge).unwrap().unpacked_bytes, 352 + 8 * 512 * 512 * 4096);
}

#[test]
fn a_prefix_is_enough_to_look_at_a_file() {
    let mut file = small();
    (file.dim[1], file.datatype) = (20_000, 512);
    file.voxels =
        (0..160_000_u32).flat_map(|v| (v.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    file.voxels.truncate(160_000);
    let packed = gzip(&file.bytes());
    let facts = peek(&packed[..1024]).unwrap();
    assert!(facts.gzipped);
    assert_eq!(facts.grid.shape(), [2, 2, 20_000]);
    assert_eq!(facts.unpacked_bytes, 352 + 160_000);
    assert_eq!(peek(&packed[..20]), Err(NiftiError::Truncated));
    assert_eq!(peek(&file.bytes()[..100]), Err(NiftiError::Truncated));
}

proptest! {
    /// Whatever happens to a header, there is an answer, and it fits the bytes.
    #[test]
    fn damaged_headers_never_panic(
        version in 1..=2_u8,
        big_endian in any::<bool>(),
        gzipped in any::<bool>(),
        damage in prop::collection::vec((0..560_usize, any::<u8>()), 1..12),
    ) {
        let mut bytes = File { version, big_endian, ..small() }.bytes();
        for (at, value) in damage {
            let end = bytes.len();
            bytes[at % end] = value;
        }
        let bytes = if gzipped { gzip(&bytes) } else { bytes };
        let _ = peek(&bytes);
        if let Ok(volume) = read(&bytes) {
            prop_assert!(volume.grid().voxels() <= 8);
            prop_assert!(volume.voxels().iter().all(|voxel| voxel.is_finite()));
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = read(&bytes);
        bytes.splice(0..0, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
        let _ = read(&bytes);
        let _ = peek(&bytes);
    }
}
