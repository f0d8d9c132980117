//! The export folder: what lies in it, what is whole, what belongs to no study.
//!
//! In reading order: [`watch`] and [`listing`] look at the folder, [`names`] tells what a name says,
//! [`stability`] tells files that are whole from files still being written, [`markers`] and
//! [`strangers`] what is no image. [`intake`] does all of it in one step. The folder is read, never
//! written.

pub mod filesystem;
pub mod intake;
pub mod listing;
pub mod markers;
pub mod names;
pub mod stability;
pub mod stranger_kind;
pub mod strangers;
pub mod watch;
