//! The one integration test binary: whole commands, real data, a real broker.

mod lesions;
mod phantom;
mod intake;
mod support;
mod tidy;
mod volume;
