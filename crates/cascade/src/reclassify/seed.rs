//! Where chance comes from: every patch has its own generator, named by what it is.
//!
//! A patch's generator depends on the study, the engine, the configured seed, the lesion's
//! own voxels, the scheme and the number of the patch, and on nothing else: not on the
//! order of lesions, the batch size, or whether the lesion was found at the low or the high
//! gain. So a second run is bit-identical, and equal masks give equal patches.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::shuffle::Scheme;

/// The seed of a whole run, from [`study_seed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(pub [u8; 32]);

/// Mixes what a run's chance may depend on: which study, which engine (its fingerprint)
/// and the configured seed.
pub fn study_seed(study: &str, engine: &str, configured: u64) -> Seed {
    let mut hash = Sha256::new_with_prefix(b"hepalert shuffle seed 1");
    for text in [study, engine] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
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
            study_seed("a", "b", 1),
            study_seed("a", "b", 2),
            study_seed("ab", "", 1),
            study_seed("b", "a", 1),
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
