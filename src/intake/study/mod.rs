//! A study of files: which belong together, when it is complete, which series is which phase.
//!
//! [`assemble`] makes studies of the facts of files, one [`progress`] each; of several copies
//! [`versions`] chooses, of several series [`stacks`]. [`phases`] knows what words of a header say,
//! [`decide`] what the images show. Opens no file but by `reading`.

pub(crate) mod assemble;
pub(crate) mod decide;
pub(crate) mod decided;
mod file_set;
mod index;
pub(crate) mod named_phases;
pub mod phases;
mod progress;
mod stacks;
mod versions;
