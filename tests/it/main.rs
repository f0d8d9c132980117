//! The one integration test binary: whole commands, real data, a real broker.

mod broker;
mod publish;
mod store;
mod support;
