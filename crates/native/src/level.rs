//! Which vector instructions the loops are compiled for, chosen at run time.
//!
//! Owns the four levels and how many sums each keeps in registers. Every loop of this crate is
//! written once, over sixteen lanes; a level says how many registers sixteen lanes take. Refuses
//! a level that the processor does not have: there is no way to make one but to find it.

use std::fmt;

use fearless_simd::Simd;

/// A level of vector instructions that this processor has.
#[derive(Clone, Copy)]
pub struct Level(pub(crate) Kind);

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512(fearless_simd::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(fearless_simd::Avx2),
    #[cfg(target_arch = "x86_64")]
    Plain(fearless_simd::Sse2),
    #[cfg(target_arch = "aarch64")]
    Neon(fearless_simd::Neon),
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Plain(fearless_simd::Fallback),
}

impl Level {
    /// The widest level of this processor.
    pub fn widest() -> Level {
        match Level::available().next() {
            Some(level) => level,
            None => unreachable!("every processor has its own baseline"),
        }
    }

    /// Every level of this processor, the widest first.
    #[cfg(target_arch = "x86_64")]
    pub fn available() -> impl Iterator<Item = Level> {
        let found = fearless_simd::Level::new();
        let kinds = [
            found.as_avx512().map(Kind::Avx512),
            found.as_avx2().map(Kind::Avx2),
            found.as_sse2().map(Kind::Plain),
        ];
        kinds.into_iter().flatten().map(Level)
    }

    /// Every level of this processor, the widest first.
    #[cfg(target_arch = "aarch64")]
    pub fn available() -> impl Iterator<Item = Level> {
        fearless_simd::Level::new().as_neon().map(|neon| Level(Kind::Neon(neon))).into_iter()
    }

    /// Every level of this processor, the widest first.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn available() -> impl Iterator<Item = Level> {
        std::iter::once(Level(Kind::Plain(fearless_simd::Fallback::new())))
    }

    /// `avx512`, `avx2`, `neon` or `plain`.
    pub const fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => "neon",
            #[cfg(not(target_arch = "aarch64"))]
            Kind::Plain(_) => "plain",
        }
    }

    /// Whether bf16 products are this level's own instruction, not imitated.
    pub fn has_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Kind::Avx512(_) = self.0 {
            return std::arch::is_x86_feature_detected!("avx512bf16");
        }
        false
    }

    /// Blocks of sixteen output channels whose sums are kept together.
    pub(crate) fn blocks(self) -> usize {
        at_level!(self, simd => blocks_of(simd))
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

fn blocks_of<S: Width>(_: S) -> usize {
    S::BLOCKS
}

/// What fits into the registers of a level: sums, one row of weights and one broadcast value.
pub(crate) trait Width: Simd {
    /// Blocks of sixteen output channels, 1 or 2.
    const BLOCKS: usize;
    /// Most pixels beside one block.
    const PIXELS: usize;
}

#[cfg(target_arch = "x86_64")]
impl Width for fearless_simd::Avx512 {
    // 16 sums of 32 registers are enough for two units with a latency of four, and half of
    // what would fit: with 28 the compiler starts to move registers about.
    const BLOCKS: usize = 2;
    const PIXELS: usize = 16;
}

#[cfg(target_arch = "x86_64")]
impl Width for fearless_simd::Avx2 {
    const BLOCKS: usize = 1;
    const PIXELS: usize = 6;
}

#[cfg(target_arch = "x86_64")]
impl Width for fearless_simd::Sse2 {
    const BLOCKS: usize = 1;
    const PIXELS: usize = 2;
}

#[cfg(target_arch = "aarch64")]
impl Width for fearless_simd::Neon {
    const BLOCKS: usize = 1;
    const PIXELS: usize = 6;
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
impl Width for fearless_simd::Fallback {
    const BLOCKS: usize = 1;
    const PIXELS: usize = 2;
}

/// Runs `body` compiled for a [`Level`].
macro_rules! at_level {
    ($level:expr, $simd:ident => $body:expr) => {
        match $level.0 {
            #[cfg(target_arch = "x86_64")]
            $crate::level::Kind::Avx512($simd) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::level::Kind::Avx2($simd) => $body,
            #[cfg(target_arch = "aarch64")]
            $crate::level::Kind::Neon($simd) => $body,
            #[cfg(not(target_arch = "aarch64"))]
            $crate::level::Kind::Plain($simd) => $body,
        }
    };
}
pub(crate) use at_level;
