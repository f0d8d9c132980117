//! The export folder: what lies in it, what is whole, what belongs to no study.
//!
//! In reading order: [`watch`] and [`listing`] look at the folder, [`names`] tells what a name says,
//! [`stability`] tells files that are whole from files still being written, [`markers`] and
//! [`strangers`] what is no image. [`intake`] does all of it in one step. The folder is read, never
//! written.

pub(crate) mod filesystem;
pub(crate) mod intake;
pub(crate) mod listing;
pub(crate) mod markers;
pub(crate) mod names;
pub(crate) mod stability;
pub(crate) mod stranger_kind;
pub(crate) mod strangers;
pub(crate) mod watch;
