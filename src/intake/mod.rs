//! Makes studies of files: watches the export folder, waits until a study is whole, and
//! refuses by name what cannot be computed on.
//!
//! In reading order: [`watch`] lists the folder, [`settle`] tells files that are whole from
//! files still being written, [`probe`] reads one file's facts, [`assemble`] makes studies
//! of facts, [`phases`] picks the series, [`mod@load`] reads the voxels past the [`gate`].
//! Owns no clock and no thread: the daemon calls and says what time it is. The folder is
//! read, never written. No UID and no free text of a header leaves this module.

pub mod accepted;
pub mod assemble;
mod course;
pub mod decide;
pub mod desk;
pub mod discover;
pub mod events;
pub mod facts;
pub mod filesystem;
pub mod fingerprint;
pub mod gate;
mod gathered;
pub mod load;
pub mod markers;
mod memory;
pub mod names;
pub mod phases;
pub mod probe;
pub mod quality;
pub mod reasons;
mod refusals;
pub mod settle;
mod stacks;
pub mod strangers;
mod suited;
pub mod survey;
pub mod thinned;
mod versions;
pub mod watch;

pub use assemble::Assembler;
pub use decide::{Decided, SeriesLine};
pub use desk::{Desk, DeskParams, Step};
pub use discover::{Discovered, discover};
pub use events::{AssembleParams, Event, Known, Millis, Outcome, Why};
pub use facts::{Candidate, Format, PhaseFiles, StudyFiles};
pub use filesystem::FileSystem;
pub use fingerprint::{Digest, study_key};
pub use gate::{GateParams, MemoryLimit, Refusal};
pub use load::{Loaded, LoadedPhase, files_of_paths, load, load_paths};
pub use phases::{Confidence, PhaseRules, PhaseSource};
pub use quality::QualityFlag;
pub use reasons::RejectCode;
pub use settle::SettleParams;
pub use watch::{Degraded, WatchParams};

#[cfg(test)]
mod scenarios;
