//! Makes studies of files: watches the export folder, waits until a study is whole, and
//! refuses by name what cannot be computed on.
//!
//! [`folder`] looks at the export folder and tells files that are whole, [`study`] makes studies of
//! them and picks the series, [`reading`] reads facts and voxels past the gate, [`by_hand`] does the
//! same once for files a person names. What they tell each other stands beside them: [`facts`] of
//! files, [`events`], [`refusal_codes`], names by content ([`mod@fingerprint`]).
//! Owns no clock and no thread: the daemon calls and says what time it is. The folder is
//! read, never written. No UID and no free text of a header leaves this module.

pub(crate) mod by_hand;
pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod fingerprint;
pub(crate) mod folder;
pub(crate) mod reading;
pub(crate) mod refusal_codes;
pub mod study;

pub use by_hand::command_line::{files_of_paths, load_paths};
pub use by_hand::discover::{Discovered, NotTaken, discover};
pub use events::{Arriving, AssembleParams, CompletionRule, Event, Known, Millis, StudyEvent};
pub(crate) use facts::{Format, PhaseFiles};
pub use fingerprint::{Digest, study_key};
pub use folder::filesystem::FileSystem;
pub use folder::intake::{FolderIntake, FolderParams, Step};
pub use folder::listing::{Degraded, WatchParams};
pub use folder::stability::StabilityParams;
pub use hepalert_study::files::StudyFiles;
pub use reading::gate::{GateParams, MemoryLimit, Refusal};
pub use reading::load::{Loaded, LoadedPhase, load};
pub use reading::quality::QualityFlag;
pub use refusal_codes::RefusalCode;
pub use study::assemble::Assembler;
pub use study::decided::{Decided, SeriesLine};
pub use study::phases::{Confidence, PhaseRules, PhaseSource};

#[cfg(test)]
mod tests;
