//! The one integration test binary: whole commands, real data, a real broker.

mod intake;
mod lesions;
mod phantom;
mod segment;
mod support;
mod tidy;
mod volume;
