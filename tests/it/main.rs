//! The one integration test binary: whole commands, real data, a real broker.

mod lesions;
mod support;
mod volume;
