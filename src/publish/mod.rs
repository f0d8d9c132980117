//! What leaves the device: the MQTT contract and the thread that keeps it.
//!
//! Owns the types of every message ([`contract`], [`findings`], [`messages`]), the ids
//! ([`ids`]), the order of sending ([`schedule`], pure) and the line to the broker ([`link`],
//! [`mqtt`]). Refuses to send an event that is not in an [`Outbox`] first, to hold anything
//! that must survive, and to know what the outbox is made of.

pub mod contract;
mod exchange;
pub(crate) mod findings;
pub(crate) mod ids;
pub(crate) mod link;
pub mod messages;
pub mod mqtt;
mod publisher;
pub(crate) mod schedule;
pub mod schemas;
mod sender;

pub use contract::{Code, ContractError, Draft, EventKind, Row};
pub use exchange::{LinkState, Outbox, OutboxError, Reprocess, Snapshot, TooLarge};
pub use findings::Findings;
pub use ids::Identity;
pub use link::Waker;
pub use mqtt::{BrokerParams, Tls, probe};
pub use publisher::{Publisher, PublisherHandle};
