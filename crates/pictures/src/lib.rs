//! What a person looks at: pictures of findings, of a registration, of the series of a study.
//!
//! [`canvas`] owns pixels; [`findings`], [`checkerboard`] and [`contact`] own what is on them. Refuses
//! files, and to decide what is shown as suspected: bytes from plain data.

pub mod canvas;
pub mod checkerboard;
pub mod contact;
pub mod findings;

/// Key and text of the chunk by which every picture of ours is known for ours.
pub const MAKER: [&str; 2] = ["Software", "hepalert"];
