//! Makes studies of files: watches the export folder, waits until a study is whole, and
//! refuses by name what cannot be computed on.
//!
//! In reading order: [`watch`] and [`listing`] look at the folder, [`stability`] tells files that are whole from
//! files still being written, [`probe`] reads one file's facts, [`assemble`] makes studies
//! of facts, [`phases`] picks the series, [`mod@load`] reads the voxels past the [`gate`].
//! Owns no clock and no thread: the daemon calls and says what time it is. The folder is
//! read, never written. No UID and no free text of a header leaves this module.

pub mod accepted;
pub mod assemble;
pub mod command_line;
pub mod decide;
pub mod decided;
pub mod discover;
pub mod events;
pub mod facts;
mod file_set;
pub mod filesystem;
pub mod fingerprint;
pub mod folder;
pub mod gate;
pub mod listing;
pub mod load;
pub mod markers;
mod memory;
pub mod named_phases;
pub mod names;
pub mod phases;
pub mod probe;
mod progress;
pub mod quality;
mod reader_errors;
pub mod refusal_codes;
pub mod stability;
mod stacks;
pub mod stranger_kind;
pub mod strangers;
mod suited;
pub mod survey;
pub mod thinned;
mod versions;
pub mod watch;

pub use assemble::Assembler;
pub use command_line::{files_of_paths, load_paths};
pub use decided::{Decided, SeriesLine};
pub use discover::{Discovered, discover};
pub use events::{AssembleParams, CompletionRule, Event, Known, Millis, StudyEvent};
pub use facts::{Candidate, Format, PhaseFiles, StudyFiles};
pub use filesystem::FileSystem;
pub use fingerprint::{Digest, study_key};
pub use folder::{FolderIntake, FolderParams, Step};
pub use gate::{GateParams, MemoryLimit, Refusal};
pub use listing::{Degraded, WatchParams};
pub use load::{Loaded, LoadedPhase, load};
pub use phases::{Confidence, PhaseRules, PhaseSource};
pub use quality::QualityFlag;
pub use refusal_codes::RefusalCode;
pub use stability::StabilityParams;

#[cfg(test)]
mod tests;
