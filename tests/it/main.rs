//! The one integration test binary: whole commands, real data, a real broker.

mod intake;
mod support;
mod volume;
