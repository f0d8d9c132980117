//! Seeded numbers: every random choice of a phantom is drawn here.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Independent streams of one seed: adding a draw to one leaves the others as they were,
/// and the anatomy of a seed is the same whatever lesions it gets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    /// Which case, if the caller leaves it open.
    Case,
    /// Shapes and places of organs, and how they take up contrast.
    Anatomy,
    /// Kinds, shapes and places of lesions.
    Lesions,
    /// The random fields that deform and texture the anatomy.
    Texture,
    /// The heart, the injection, and when each scan began.
    Contrast,
    /// How soft organs have moved since the reference phase.
    Motion {
        /// Phase number in channel order.
        phase: u64,
    },
    /// Scanner noise of one slice of one phase.
    Noise {
        /// Phase number in channel order.
        phase: u64,
        /// Slice number.
        slice: u64,
    },
}

impl Stream {
    fn number(self) -> u64 {
        match self {
            Stream::Case => 0,
            Stream::Anatomy => 1,
            Stream::Lesions => 2,
            Stream::Texture => 3,
            Stream::Contrast => 4,
            Stream::Motion { phase } => 8 + phase,
            Stream::Noise { phase, slice } => (phase + 1) << 32 | slice,
        }
    }
}

/// A stream of random numbers.
#[derive(Debug)]
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// The given stream of the given seed.
    pub(super) fn new(seed: u64, stream: Stream) -> Draw {
        let mut numbers = ChaCha8Rng::seed_from_u64(seed);
        numbers.set_stream(stream.number());
        Draw(numbers)
    }

    /// Uniform in `[lo, hi)`.
    pub(super) fn uniform(&mut self, lo: f32, hi: f32) -> f32 {
        // 24 bits: every f32 in [0, 1) with that spacing is exact.
        lo + (hi - lo) * ((self.0.next_u32() >> 8) as f32 / 16_777_216.0)
    }

    /// `value`, up to the given share larger or smaller.
    pub(super) fn around(&mut self, value: f32, share: f32) -> f32 {
        value * self.uniform(1.0 - share, 1.0 + share)
    }

    /// True with probability `p`.
    pub(super) fn chance(&mut self, p: f32) -> bool {
        self.uniform(0.0, 1.0) < p
    }

    /// A whole number in `lo..=hi`.
    pub(super) fn whole(&mut self, lo: usize, hi: usize) -> usize {
        let span = (hi - lo + 1) as f32;
        (lo + self.uniform(0.0, span) as usize).min(hi)
    }

    /// Close to a normal variate of mean 0 and deviation 1: the sum of four uniform bytes.
    pub(super) fn normal(&mut self) -> f32 {
        let sum: u32 = self.0.next_u32().to_le_bytes().iter().map(|byte| u32::from(*byte)).sum();
        // Mean 510; the variance of one uniform byte is (256^2 - 1) / 12.
        (sum as f32 - 510.0) / 147.8
    }

    /// A random unit vector.
    pub(super) fn direction(&mut self) -> [f32; 3] {
        loop {
            let v = [0; 3].map(|_| self.uniform(-1.0, 1.0));
            let square: f32 = v.iter().map(|c| c * c).sum();
            if square > 0.01 && square <= 1.0 {
                return v.map(|c| c / square.sqrt());
            }
        }
    }
}
