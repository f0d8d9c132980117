//! Loops compiled for the widest vectors this processor has.
//!
//! A program for x86-64 may use vectors of 16 bytes only; most processors have 32 or 64. What
//! runs inside [`widest`] is compiled for each of them, and the right one is chosen here. The
//! arithmetic is the same: nothing is fused or reordered, so every processor gives one result.

use fearless_simd::{Level, dispatch};

/// Runs `work` compiled for this processor's vectors. It and what it calls take part only if
/// they are inlined: mark them `#[inline(always)]`.
#[inline(always)]
pub fn widest<R>(work: impl FnOnce() -> R) -> R {
    dispatch!(Level::new(), _simd => work())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_once() {
        let mut sum = vec![1.0_f32; 1000];
        let times = widest(|| {
            sum.iter_mut().for_each(|v| *v = *v * 3.0 + 0.5);
            7
        });
        assert_eq!((times, sum), (7, vec![3.5; 1000]));
    }
}
