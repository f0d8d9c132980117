//! The page on the device: queue, studies, viewer, engines, and the interface that it is made of.
//!
//! Owns the server, who may do what, and what is told of the device to browsers. It reads what the
//! daemon, the store and the results say, and changes only what a command of this program changes
//! too, by the same functions. Refuses to compute lesions, to know a patient, to load anything from
//! elsewhere, and to keep the daemon waiting: it has a thread of its own, at a lower priority, and
//! reads the store by connections of its own.

pub mod access;
pub mod accounts;
mod api;
mod aside;
mod assets;
mod attached;
mod bench;
mod browse;
mod cache;
mod device;
mod engines;
mod events;
mod given;
mod images;
mod label_lines;
mod labels;
mod lines;
mod metrics;
mod monai;
mod openapi;
mod overview;
mod packed;
mod places;
mod problem;
mod queue;
mod reading;
mod router;
mod scene;
mod server;
mod session;
mod settings;
mod site;
mod studies;
mod study;
mod throttle;

pub use bench::{Bench, Engine as LabelEngine};
pub use device::{Check, Device, Engine, Line, Pulse, Receiving, Step, Tested};
pub use openapi::document;
pub use server::{Handle, ServeError, check_certificate, start};
pub use site::{MIN_SECRET, Site, database, proxy_secret};
