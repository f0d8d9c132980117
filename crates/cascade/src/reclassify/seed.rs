//! Where chance comes from: every patch has its own generator, named by what it is.
//!
//! A patch's generator depends on the image, the engine, the configured seed, the lesion's
//! own voxels, the scheme and the number of the patch, and on nothing else: not on the
//! order of lesions, the batch size, or whether the lesion was found at the low or the high
//! gain. So a second run is bit-identical, and equal masks give equal patches.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::shuffle::Scheme;
use hepalert_study::study::AlignedStudy;

/// The seed of a whole run, from [`study_seed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(pub [u8; 32]);

/// What is in the images of a study: the shape and every voxel in whole Hounsfield units,
/// phase by phase. The same for the same voxels under any study UID, file format, header
/// rounding or site key; bring the study into the engine's orientation first.
pub fn content(study: &AlignedStudy) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(b"hepalert content 1");
    for (phase, volume) in study.phases() {
        hash.update(phase.code());
        for side in volume.grid().shape() {
            hash.update((side as u64).to_le_bytes());
        }
        let slices: Vec<[u8; 32]> =
            volume.voxels().outer_iter().into_par_iter().map(slice_content).collect();
        slices.iter().for_each(|slice| hash.update(slice));
    }
    hash.finalize().into()
}

fn slice_content(slice: ndarray::ArrayView2<'_, f32>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut bytes = Vec::with_capacity(2 * slice.ncols());
    for row in slice.outer_iter() {
        bytes.clear();
        // Beyond sixteen bits a value is no Hounsfield unit: held to their ends.
        bytes.extend(row.iter().flat_map(|value| (value.round() as i16).to_le_bytes()));
        hash.update(&bytes);
    }
    hash.finalize().into()
}

/// Mixes what a run's chance may depend on: what is in the images ([`content`]), which engine
/// (its fingerprint) and the configured seed.
pub fn study_seed(content: [u8; 32], engine: &str, configured: u64) -> Seed {
    let mut hash = Sha256::new_with_prefix(b"hepalert shuffle seed 2");
    hash.update(content);
    hash.update((engine.len() as u64).to_le_bytes());
    hash.update(engine);
    hash.update(configured.to_le_bytes());
    Seed(hash.finalize().into())
}

/// The generator of patch number `index` of a scheme for the lesion with this fingerprint.
pub fn patch_generator(seed: Seed, lesion: [u8; 32], scheme: Scheme, index: u32) -> ChaCha8Rng {
    let mut hash = Sha256::new_with_prefix(b"hepalert patch 1");
    hash.update(seed.0);
    hash.update(lesion);
    hash.update(scheme.code());
    hash.update(index.to_le_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn every_ingredient_changes_the_seed() {
        let seeds = [
            study_seed([1; 32], "b", 1),
            study_seed([1; 32], "b", 2),
            study_seed([1; 32], "c", 1),
            study_seed([2; 32], "b", 1),
        ];
        for (i, a) in seeds.iter().enumerate() {
            assert!(seeds[i + 1..].iter().all(|b| a != b));
        }
        let first = |scheme, index| patch_generator(seeds[0], [7; 32], scheme, index).next_u64();
        assert_eq!(first(Scheme::OriginalPositive, 0), first(Scheme::OriginalPositive, 0));
        assert_ne!(first(Scheme::OriginalPositive, 0), first(Scheme::OriginalPositive, 1));
        assert_ne!(first(Scheme::OriginalPositive, 0), first(Scheme::ShuffledPositive, 0));
    }
}
