//! The one integration test binary: whole commands, real data, a real broker.

mod support;
mod tidy;
mod volume;
