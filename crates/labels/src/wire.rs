//! Label maps and their changes as they travel: gzipped raw bytes.
//!
//! Owns two forms. A map is its voxels in RAS order, one byte each. A change is little-endian
//! 32-bit words: [`MAGIC`], voxels along z, y, x, the number of runs, then start, length and label
//! of each run in memory order. Refuses, before anything is allocated, what is longer than the
//! image allows.

use std::io::{self, Read, Write};

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use hepalert_study::digest::Digest;
use hepalert_voxels::volume::Grid;
use ndarray::Array3;

use crate::change::Stretch;
use crate::refused::Refused;

/// First word of a change: `HRUN` in its bytes.
pub const MAGIC: u32 = u32::from_le_bytes(*b"HRUN");
/// More runs than this are no edit of a person: a hundred thousand strokes of ten rows.
pub const MAX_RUNS: usize = 1 << 20;

const HEAD_WORDS: usize = 5;
const RUN_WORDS: usize = 3;

/// Names a grid: who sends labels back says for which grid they are. 16 hex digits over shape
/// and affine.
pub fn grid_name(grid: &Grid) -> String {
    let shape = grid.shape().into_iter().flat_map(|n| (n as u64).to_le_bytes());
    let affine = grid.affine().iter().flatten().flat_map(|entry| entry.to_le_bytes());
    let mut name = Digest::of(&shape.chain(affine).collect::<Vec<u8>>()).hex();
    name.truncate(16);
    name
}

/// The voxels of a map.
pub fn encode_map(map: &Array3<u8>) -> Vec<u8> {
    let Some(voxels) = map.as_slice() else { unreachable!("label maps are in C order") };
    gzip(voxels)
}

/// A map of this shape.
///
/// # Errors
/// [`Refused::Damaged`] for bytes that are not exactly one map.
pub fn decode_map(bytes: &[u8], shape: [usize; 3]) -> Result<Array3<u8>, Refused> {
    let voxels = gunzip(bytes, shape.iter().product())?;
    Array3::from_shape_vec(shape, voxels).map_err(|_| Refused::Damaged("too few voxels"))
}

/// What voxels are to carry.
pub fn encode_runs(shape: [usize; 3], runs: &[Stretch]) -> Vec<u8> {
    let [z, y, x] = shape.map(|n| n as u32);
    let head = [MAGIC, z, y, x, runs.len() as u32];
    let body = runs.iter().flat_map(|run| [run.start, run.length, u32::from(run.label)]);
    let bytes: Vec<u8> = head.into_iter().chain(body).flat_map(u32::to_le_bytes).collect();
    gzip(&bytes)
}

/// Runs for an image of this shape.
///
/// # Errors
/// [`Refused`] for damage, another image, too many runs, a run past the end, and labels above 255.
pub fn decode_runs(bytes: &[u8], shape: [usize; 3]) -> Result<Vec<Stretch>, Refused> {
    let most = 4 * (HEAD_WORDS + RUN_WORDS * MAX_RUNS);
    let bytes = gunzip_up_to(bytes, most)?;
    let (words, rest) = bytes.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
    let head: Vec<u32> = words.by_ref().take(HEAD_WORDS).collect();
    let [MAGIC, z, y, x, count] = head[..] else { return Err(Refused::Damaged("no runs")) };
    if [z, y, x].map(|n| n as usize) != shape {
        return Err(Refused::OtherGrid);
    }
    let body: Vec<u32> = words.collect();
    let (runs, odd) = body.as_chunks::<RUN_WORDS>();
    if !rest.is_empty() || !odd.is_empty() || runs.len() != count as usize {
        return Err(Refused::Damaged("not as many runs as announced"));
    }
    runs.iter().map(|run| checked(*run, shape)).collect()
}

fn checked([start, length, label]: [u32; 3], shape: [usize; 3]) -> Result<Stretch, Refused> {
    let voxels: usize = shape.iter().product();
    let label = u8::try_from(label).map_err(|_| Refused::Damaged("a label above 255"))?;
    if start as usize + length as usize > voxels {
        let [_, height, width] = shape.map(|n| n.max(1));
        let at = start as usize;
        let at = [at / (width * height), at / width % height, at % width];
        return Err(Refused::RunOutside { at, length: length as usize, shape });
    }
    Ok(Stretch { start, length, label })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let pack = || -> io::Result<Vec<u8>> {
        let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(3));
        gz.write_all(bytes)?;
        gz.finish()
    };
    match pack() {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("writing to memory cannot fail: {error}"),
    }
}

/// Exactly so many bytes.
fn gunzip(bytes: &[u8], count: usize) -> Result<Vec<u8>, Refused> {
    // No stream inflates to more than this many times its size.
    if bytes.len().saturating_mul(1032) < count {
        return Err(Refused::Damaged("too few voxels"));
    }
    let found = gunzip_up_to(bytes, count)?;
    if found.len() < count { Err(Refused::Damaged("too few voxels")) } else { Ok(found) }
}

fn gunzip_up_to(bytes: &[u8], most: usize) -> Result<Vec<u8>, Refused> {
    let mut found = Vec::new();
    let mut source = GzDecoder::new(bytes);
    // To the end, so that the checksum is verified.
    let read = source.by_ref().take(most as u64 + 1).read_to_end(&mut found);
    read.map_err(|_| Refused::Damaged("the gzip stream is damaged or ends too early"))?;
    if found.len() > most {
        Err(Refused::Damaged("more bytes than the image has"))
    } else {
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHAPE: [usize; 3] = [2, 3, 4];

    fn packed(words: &[u32]) -> Vec<u8> {
        gzip(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
    }

    #[test]
    fn runs_and_maps_come_back() {
        let runs = [
            Stretch { start: 0, length: 5, label: 255 },
            Stretch { start: 20, length: 4, label: 0 },
        ];
        assert_eq!(decode_runs(&encode_runs(SHAPE, &runs), SHAPE).unwrap(), runs);
        let map = Array3::from_shape_fn(SHAPE, |(z, y, x)| (z * 100 + y * 10 + x) as u8);
        assert_eq!(decode_map(&encode_map(&map), SHAPE).unwrap(), map);
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let code = |words: &[u32]| decode_runs(&packed(words), SHAPE).map_err(|e| e.code());
        let head = [MAGIC, 2, 3, 4];
        let with = |rest: &[u32]| [&head, rest].concat();
        assert_eq!(code(&with(&[1, 23, 1, 7])).unwrap().len(), 1);
        assert_eq!(code(&with(&[1, 23, 2, 7])), Err("run_outside_image"));
        assert_eq!(code(&with(&[1, u32::MAX, u32::MAX, 7])), Err("run_outside_image"));
        assert_eq!(code(&with(&[1, 0, 1, 256])), Err("damaged_labels"));
        assert_eq!(code(&with(&[2, 0, 1, 7])), Err("damaged_labels"));
        assert_eq!(code(&with(&[u32::MAX])), Err("damaged_labels"));
        assert_eq!(code(&[MAGIC, 3, 2, 4, 0]), Err("geometry_mismatch"));
        assert_eq!(code(&[1, 2, 3, 4, 0]), Err("damaged_labels"));
        assert_eq!(code(&head), Err("damaged_labels"));
        let whole = encode_map(&Array3::zeros(SHAPE));
        for cut in 0..whole.len() {
            assert!(decode_map(&whole[..cut], SHAPE).is_err(), "{cut}");
        }
        assert!(decode_map(&whole, [2, 3, 5]).is_err(), "too few");
        assert!(decode_map(&whole, [2, 3, 3]).is_err(), "too many");
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(decode_map(&flipped, SHAPE).is_err(), "a wrong length in the trailer");
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 400_000);
        assert!(decode_map(&bomb, SHAPE).is_err() && decode_runs(&bomb, SHAPE).is_err());
        assert!(decode_map(&[0; 20], [4096, 512, 512]).is_err(), "a gigabyte is not asked for");
    }

    #[test]
    fn the_name_of_a_grid_tells_shape_and_place() {
        let name = |shape, origin| grid_name(&Grid::axial(shape, [5.0, 1.0, 1.0], origin));
        assert_eq!(name(SHAPE, [0.0; 3]), name(SHAPE, [0.0; 3]));
        assert_eq!(name(SHAPE, [0.0; 3]).len(), 16);
        assert_ne!(name(SHAPE, [0.0; 3]), name([3, 2, 4], [0.0; 3]));
        assert_ne!(name(SHAPE, [0.0; 3]), name(SHAPE, [0.0, 0.1, 0.0]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u32>(), 0..40)) {
            let _ = decode_runs(&packed(&bytes), SHAPE);
            let raw: Vec<u8> = bytes.iter().flat_map(|word| word.to_le_bytes()).collect();
            let _ = decode_runs(&raw, SHAPE);
            let _ = decode_map(&raw, SHAPE);
        }
    }
}
