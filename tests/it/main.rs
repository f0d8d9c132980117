//! The one integration test binary: whole commands, real data, a real broker.

mod reclassify;
mod segment;
mod lesions;
mod support;
mod volume;
