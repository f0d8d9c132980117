//! The words that every room shares: [`anatomy`] (lesion types, organs, label values),
//! [`phase`] (phases and the settings they make), [`study`] (an examination before and after
//! alignment), [`alignment`] (how phases come onto one grid), [`files`] (a study as files), [`defaults`] (numbers where a site says nothing),
//! [`outcome`] (what a patient is taken for), [`mod@result`] (its files by name), [`digest`] (content
//! by name) and [`system`] (what Linux says of files).
//!
//! Owns names and their order: each word is written in one way, in files, messages and on the
//! command line, and read back strictly, so that a word nobody knows is an error and never
//! another word. Refuses to compute. Words are `Serialize`; nothing that holds voxels is.

pub mod alignment;
pub mod anatomy;
pub mod defaults;
pub mod digest;
pub mod files;
pub mod outcome;
pub mod phase;
pub mod protocol;
pub mod result;
pub mod series;
pub mod study;
pub mod system;

/// The variants of a closed enum as an array.
///
/// # Panics
/// At compile time, where the array has another length.
pub const fn all<T: Copy, const N: usize>(variants: &[T]) -> [T; N] {
    assert!(variants.len() == N);
    match variants.first_chunk() {
        Some(variants) => *variants,
        None => unreachable!(),
    }
}

/// `Display` by the name.
macro_rules! displayed_by_name {
    ($word:ty) => {
        impl std::fmt::Display for $word {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
use displayed_by_name;
