//! The page on the device: queue, studies, viewer, engines, and the interface that it is made of.
//!
//! Owns the server, who may do what, and what is told of the device to browsers. It reads what the
//! daemon, the store and the results say, and changes only what a command of this program changes
//! too, by the same functions. Refuses to compute lesions, to know a patient, to load anything from
//! elsewhere, and to keep the daemon waiting: it has a thread of its own, at a lower priority, and
//! reads the store by connections of its own.

pub(crate) mod access;
pub mod accounts;
mod api;
mod assets;
mod browser_volumes;
mod cache;
mod connections;
mod device;
mod download;
mod editors;
mod engines;
mod events;
mod images;
mod label_conflict;
mod label_lines;
mod label_meanings;
mod labels;
mod metrics;
mod monai;
mod openapi;
mod overview;
mod page_state;
mod problem;
mod queue;
mod queue_lines;
mod router;
mod scene;
mod server;
mod session;
mod settings;
mod studies;
mod study;
mod study_filter;
mod study_images;
mod study_list;
mod throttle;

pub use crate::ui::Level;
pub use device::{AtRest, Check, Device, Engine, Line, Pulse, Receiving, Step, Tested};
pub use editors::{Engine as LabelEngine, LabelEditors};
pub use openapi::document;
pub use page_state::{MIN_SECRET, PageState, database, proxy_secret};
pub use server::{Handle, ServeError, check_certificate, start};
