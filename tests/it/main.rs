//! The one integration test binary: whole commands, real data, a real broker.

mod broker;
mod daemon;
mod intake;
mod lesions;
mod phantom;
mod publish;
mod reclassify;
mod segment;
mod store;
mod support;
mod tidy;
mod volume;
