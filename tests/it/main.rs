//! The one integration test binary: whole commands, real data, a real broker.

mod lesions;
mod reclassify;
mod segment;
mod support;
mod volume;
