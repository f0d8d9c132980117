//! The words between the folder and the assembler: what happened, what follows, when.
//!
//! Owns plain data only.

use std::path::PathBuf;

use super::facts::{FileFacts, StudyFiles};
use super::fingerprint::Digest;
use super::folder::markers::Marker;
use super::folder::stranger_kind::{Counts, StrangerKind};
use super::reading::gate::Refusal;
use super::refusal_codes::RefusalCode;
use super::study::phases::PhaseRules;
use hepalert_study::defaults;
use hepalert_study::phase::Phase;
use hepalert_study::study::StudyKey;

/// Milliseconds on any clock; best one that never jumps. A jump back is caught, a jump
/// forward ends quiet periods early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// Of seconds; negative and not-a-number become zero.
    pub fn from_s(seconds: f64) -> Millis {
        Millis((seconds * 1000.0) as u64)
    }

    /// This moment less a span; `None` before the clock began.
    pub fn less(self, span: Millis) -> Option<Millis> {
        self.0.checked_sub(span.0).map(Millis)
    }

    /// True when at least this long has passed since a moment.
    pub fn is_past(self, since: Millis, span: Millis) -> bool {
        self.less(span).is_some_and(|then| since <= then)
    }
}

/// When a study is whole.
#[derive(Debug, Clone, PartialEq)]
pub struct AssembleParams {
    /// The export folder.
    pub root: PathBuf,
    /// The phases that the engine takes.
    pub expected: Vec<Phase>,
    /// The phases of other engines, best first: for a study that is closed without them all.
    pub instead: Vec<Vec<Phase>>,
    /// The site's names of phases.
    pub rules: PhaseRules,
    /// Without a new file for this long, a study is complete.
    pub quiet_s: f64,
    /// The same once all phases are there, named and without holes.
    pub phase_quiet_s: f64,
    /// After its first file, a study is complete whatever still comes.
    pub force_complete_s: f64,
    /// Most files of one study.
    pub max_files: usize,
}

impl AssembleParams {
    /// The times of [`defaults`].
    pub fn new(root: impl Into<PathBuf>, expected: &[Phase]) -> AssembleParams {
        AssembleParams {
            root: root.into(),
            expected: expected.to_vec(),
            instead: Vec::new(),
            rules: PhaseRules::default(),
            quiet_s: defaults::QUIET_S as f64,
            phase_quiet_s: defaults::PHASE_QUIET_S as f64,
            force_complete_s: defaults::FORCE_COMPLETE_S as f64,
            max_files: defaults::MAX_FILES,
        }
    }
}

/// A study that was complete or refused before: from the store, at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The study's key.
    pub key: StudyKey,
    /// Of its input.
    pub fingerprint: Digest,
    /// Which revision.
    pub revision: u32,
}

/// What happened in the folder.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A file was seen and is not yet trusted.
    Pending {
        /// The file or folder.
        path: PathBuf,
        /// Whose, if its name says so.
        study: Option<StudyKey>,
    },
    /// A file lies still and cannot be read: perhaps the rest is to come.
    Unreadable {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file is whole.
    Stable {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        facts: FileFacts,
        /// When it was last changed or put there, in ns on the clock of its file system.
        changed_ns: i128,
    },
    /// A file was given up.
    Refused {
        /// The file or folder.
        path: PathBuf,
        /// What was found.
        broken: Broken,
    },
    /// Something that is not looked into.
    PassedOver {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        stranger: Stranger,
    },
    /// A file went away.
    Gone {
        /// The file or folder.
        path: PathBuf,
    },
    /// A `.done` file appeared or changed.
    Marker(Marker),
}

/// Something in the folder that is no image, or is not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Its kind.
    pub kind: StrangerKind,
    /// Why it cannot be used, in the reader's own sentence, where that was tried.
    pub said: Option<String>,
    /// Stands for what is there: of its stamp, or of what is in it.
    pub content: Digest,
    /// Under which key it is told, with all others below the same folder.
    pub alone: StudyKey,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The reason's code.
    pub code: RefusalCode,
    /// The reader's own sentence.
    pub said: String,
    /// SHA-256 of what is there.
    pub content: Digest,
    /// Whose study, if that much could be read.
    pub study: Option<StudyKey>,
    /// Which series of it, if that could be read.
    pub series: Option<Digest>,
    /// Under which key it is told if it belongs to no study, with all others below the same
    /// folder.
    pub alone: StudyKey,
}

/// Why a study counts as complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionRule {
    /// Nothing came for long enough.
    QuietPeriod,
    /// Every expected phase is there.
    AllPhases,
    /// A marker said so.
    Marker,
    /// It took too long.
    Forced,
}

impl CompletionRule {
    /// The name in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            CompletionRule::QuietPeriod => "quiet_period",
            CompletionRule::AllPhases => "all_phases",
            CompletionRule::Marker => "marker",
            CompletionRule::Forced => "forced",
        }
    }
}

/// A study of which something has come, and which is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arriving {
    /// The study's key.
    pub key: StudyKey,
    /// When the first file came of what is not accounted for yet.
    pub since: Millis,
    /// Files of it that are here, read or broken.
    pub files: usize,
    /// Series among them; each NIfTI file is one.
    pub series: usize,
}

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub enum StudyEvent {
    /// The first file of a study never seen before.
    Received {
        /// The study's key.
        key: StudyKey,
    },
    /// A study is ready to be computed.
    Complete {
        /// Its files.
        study: StudyFiles,
        /// By which rule.
        why: CompletionRule,
        /// What was passed over, by kind: other series, what lies beside.
        passed_over: Counts,
    },
    /// A study ends here. Single files are told by folder, in [`StudyEvent::PassedOver`].
    Refused {
        /// The study's key.
        key: StudyKey,
        /// As in [`StudyFiles`].
        revision: u32,
        /// Of everything that is there.
        fingerprint: Digest,
        /// The reason, with its code and detail.
        refusal: Refusal,
    },
    /// The same study again, or a part of it that was analysed: nothing to do. Told once per copy.
    Duplicate {
        /// The study's key.
        key: StudyKey,
        /// What it is a copy of.
        fingerprint: Digest,
        /// It was sent again after it had been taken in: one that failed may be tried again.
        resent: bool,
    },
    /// What belongs to no study, all below one folder of the export together.
    PassedOver {
        /// Names the folder.
        key: StudyKey,
        /// 1, and one more each time something is added.
        revision: u32,
        /// Of all of it.
        fingerprint: Digest,
        /// By kind.
        counts: Counts,
        /// What the reader said of one of the kind of most of them.
        said: Option<String>,
    },
}
