//! Tells files that are whole from files that are still being written.
//!
//! Owns the rule: a file counts when size and time are the same over two looks at least
//! `settle_s` apart (any two looks, if inotify told that its writer closed it), and it can
//! be read. One that lies still and cannot be read is given up after `give_up_s`. Every file
//! is read once per content. Knows no clock and opens nothing: a probe is handed in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::listing::{Snapshot, Stamp};
use super::markers::Marker;
use super::names;
use super::stranger_kind::StrangerKind;
use crate::intake::events::{Broken, Event, Millis, Stranger};
use crate::intake::facts::FileFacts;
use crate::intake::fingerprint::Digest;
use crate::intake::reading::probe::ProbeError;
use crate::intake::refusal_codes::RefusalCode;
use hepalert_study::defaults;
use hepalert_study::study::StudyKey;

/// The times of settling.
#[derive(Debug, Clone, PartialEq)]
pub struct StabilityParams {
    /// Size and time must be equal this long.
    pub settle_s: f64,
    /// A file that lies still and cannot be read is refused after this.
    pub give_up_s: f64,
    /// Files read per step, so that a step stays short; the others wait for the next.
    pub files_per_step: usize,
}

impl Default for StabilityParams {
    fn default() -> StabilityParams {
        StabilityParams {
            settle_s: defaults::SETTLE_S as f64,
            give_up_s: defaults::GIVE_UP_S as f64,
            files_per_step: 256,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Perhaps still being written.
    Moving,
    /// Lies still and cannot be read.
    Failed,
    /// Was told as broken.
    GivenUp(RefusalCode),
    /// Was told as whole, or is no image.
    Done,
}

/// A file that is written to for so many times as long as one that lies still and cannot be
/// read is given, is told of: half an hour by default.
const RESTLESS: u64 = 6;

/// What is not looked into.
#[derive(Debug)]
struct Passed {
    stamp: Stamp,
    since: Millis,
    told: bool,
}

#[derive(Debug, Clone)]
struct Tracked {
    stamp: Stamp,
    since: Millis,
    /// Written to since, without rest.
    moving: Millis,
    /// That was told.
    restless: bool,
    /// Its writer closed it since it has this stamp.
    closed: bool,
    state: State,
}

/// Files and what is believed of them.
#[derive(Debug)]
pub(crate) struct FileStability {
    params: StabilityParams,
    files: BTreeMap<PathBuf, Tracked>,
    ignored: BTreeMap<PathBuf, Passed>,
    markers: BTreeMap<PathBuf, Stamp>,
}

/// What a step brought.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// In the order in which they are to be applied.
    pub events: Vec<Event>,
    /// More files are due: take the next step soon.
    pub more: bool,
}

/// Reads a file, and knows whose it is by name.
pub(crate) trait Reader: Sync {
    /// The facts of a file that has this stamp.
    ///
    /// # Errors
    /// [`ProbeError`].
    fn read(&self, path: &Path, stamp: Stamp) -> Result<FileFacts, ProbeError>;
    /// Whose study, by name alone.
    fn study_by_name(&self, path: &Path) -> Option<StudyKey>;
    /// Under which key a path is told that belongs to no study.
    fn alone(&self, path: &Path) -> StudyKey;
}

impl Reader for crate::intake::reading::probe::Probe<'_> {
    fn read(&self, path: &Path, stamp: Stamp) -> Result<FileFacts, ProbeError> {
        crate::intake::reading::probe::Probe::read(self, path, stamp)
    }

    fn study_by_name(&self, path: &Path) -> Option<StudyKey> {
        crate::intake::reading::probe::Probe::study_by_name(self, path)
    }

    fn alone(&self, path: &Path) -> StudyKey {
        crate::intake::reading::probe::Probe::alone(self, path)
    }
}

impl FileStability {
    /// Knows no file yet.
    pub(crate) fn new(params: StabilityParams) -> FileStability {
        FileStability {
            params,
            files: BTreeMap::new(),
            ignored: BTreeMap::new(),
            markers: BTreeMap::new(),
        }
    }

    /// Files that are not yet whole.
    pub(crate) fn moving(&self) -> usize {
        self.files.values().filter(|file| file.state == State::Moving).count()
    }

    /// These files are to be read again though they look the same.
    pub(crate) fn doubt(&mut self, paths: &[PathBuf], now: Millis) {
        for path in paths {
            if let Some(file) = self.files.get_mut(path) {
                (file.since, file.closed, file.state) = (now, false, State::Moving);
            }
        }
    }

    /// Compares a look with the one before, and reads what lies still.
    pub(crate) fn step(&mut self, seen: &Snapshot, now: Millis, reader: &dyn Reader) -> Settled {
        let mut settled = Settled::default();
        self.forget(seen, &mut settled.events);
        self.notice(seen, now, reader, &mut settled.events);
        self.pass_over(seen, now, reader, &mut settled.events);
        let (due, more) = self.due(now);
        settled.more = more;
        let read: Vec<_> = due
            .into_par_iter()
            .map(|(path, stamp)| {
                let found = reader.read(&path, stamp);
                (path, found)
            })
            .collect();
        for (path, found) in read {
            settled.events.extend(self.conclude(path, found, now, reader));
        }
        self.mark(seen, &mut settled.events);
        settled
    }

    fn forget(&mut self, seen: &Snapshot, events: &mut Vec<Event>) {
        let known = self.files.keys().chain(self.ignored.keys());
        let gone: Vec<PathBuf> = known.filter(|path| seen.is_gone(path)).cloned().collect();
        for path in gone {
            self.files.remove(&path);
            self.ignored.remove(&path);
            events.push(Event::Gone { path });
        }
        self.markers.retain(|path, _| !seen.is_gone(path));
    }

    fn notice(
        &mut self,
        seen: &Snapshot,
        now: Millis,
        reader: &dyn Reader,
        events: &mut Vec<Event>,
    ) {
        for (path, &stamp) in &seen.files {
            let closed = seen.closed.contains(path);
            if let Some(file) = self.files.get_mut(path)
                && file.stamp == stamp
            {
                file.closed |= closed;
                // The clock was set back.
                file.since = file.since.min(now);
                continue;
            }
            let before = self.files.get(path).filter(|file| file.state == State::Moving);
            let (moving, restless) =
                before.map_or((now, false), |file| (file.moving, file.restless));
            let state = State::Moving;
            let mut file = Tracked { stamp, since: now, moving, restless, closed, state };
            let patience = Millis::from_s(self.params.give_up_s);
            let patience = Millis(patience.0.saturating_mul(RESTLESS));
            if !restless && now.is_past(moving, patience) {
                file.restless = true;
                let content = Digest::of(path.as_os_str().as_encoded_bytes());
                events.push(passed_over(path.clone(), StrangerKind::NeverStill, content, reader));
            }
            self.files.insert(path.clone(), file);
            let study = reader.study_by_name(path);
            events.push(Event::Pending { path: path.clone(), study });
        }
    }

    /// What is not looked into is told once it lies still: a link or a closed folder soon, what
    /// may be somebody's unfinished work when it is given up.
    fn pass_over(
        &mut self,
        seen: &Snapshot,
        now: Millis,
        reader: &dyn Reader,
        events: &mut Vec<Event>,
    ) {
        let closed = Stamp { bytes: 0, mtime_ns: 0, ctime_ns: 0, inode: 0 };
        let folders = seen.blind.iter().filter(|folder| seen.folders.contains(*folder));
        let folders = folders.map(|folder| (folder, (closed, StrangerKind::ClosedFolder)));
        let ignored = seen.ignored.iter().map(|(path, what)| (path, *what));
        for (path, (stamp, kind)) in ignored.chain(folders) {
            let passed = self.ignored.entry(path.clone()).or_insert(Passed {
                stamp,
                since: now,
                told: false,
            });
            if passed.stamp != stamp {
                *passed = Passed { stamp, since: now, told: false };
            }
            passed.since = passed.since.min(now);
            // What waiting changes nothing about: a foreign one among these is a pipe or a device.
            let soon = [StrangerKind::Link, StrangerKind::ClosedFolder, StrangerKind::Foreign];
            let soon = soon.contains(&kind);
            let wait = if soon { self.params.settle_s } else { self.params.give_up_s };
            if !passed.told && now.is_past(passed.since, Millis::from_s(wait)) {
                passed.told = true;
                let content = Digest::of(format!("{kind} {stamp:?}").as_bytes());
                events.push(passed_over(path.clone(), kind, content, reader));
            }
        }
    }

    /// Files to read now, those that wait longest first.
    fn due(&self, now: Millis) -> (Vec<(PathBuf, Stamp)>, bool) {
        let stable = Millis::from_s(self.params.settle_s);
        let give_up = Millis::from_s(self.params.give_up_s);
        let is_due = |file: &Tracked| match file.state {
            State::Moving => now.is_past(file.since, stable) || (file.closed && file.since < now),
            State::Failed | State::GivenUp(RefusalCode::Unreadable) => {
                now.is_past(file.since, give_up)
            }
            State::GivenUp(_) | State::Done => false,
        };
        let mut due: Vec<(&PathBuf, &Tracked)> =
            self.files.iter().filter(|(_, file)| is_due(file)).collect();
        due.sort_by_key(|(path, file)| (file.since, *path));
        let more = due.len() > self.params.files_per_step;
        due.truncate(self.params.files_per_step);
        (due.into_iter().map(|(path, file)| (path.clone(), file.stamp)).collect(), more)
    }

    fn conclude(
        &mut self,
        path: PathBuf,
        found: Result<FileFacts, ProbeError>,
        now: Millis,
        reader: &dyn Reader,
    ) -> Option<Event> {
        let file = self.files.get_mut(&path)?;
        match found {
            Ok(facts) => {
                file.state = State::Done;
                Some(Event::Stable { path, facts, changed_ns: file.stamp.changed_ns() })
            }
            Err(ProbeError::Foreign(kind)) => {
                file.state = State::Done;
                let content = Digest::of(format!("{:?}", file.stamp).as_bytes());
                Some(passed_over(path, kind, content, reader))
            }
            Err(ProbeError::Changed) => {
                (file.since, file.closed) = (now, false);
                None
            }
            Err(ProbeError::Broken(broken)) => file.failed(path, broken, now),
        }
    }

    /// Markers last: what they speak for was told before.
    fn mark(&mut self, seen: &Snapshot, events: &mut Vec<Event>) {
        for (path, stamp) in &seen.markers {
            let name = path.file_name().and_then(names::marker_stem);
            let (Some(folder), Some(stem)) = (path.parent(), name) else { continue };
            if self.markers.insert(path.clone(), *stamp) != Some(*stamp) {
                let folder = folder.to_owned();
                events.push(Event::Marker(Marker { folder, stem }));
            }
        }
    }
}

fn passed_over(path: PathBuf, kind: StrangerKind, content: Digest, reader: &dyn Reader) -> Event {
    let stranger = Stranger { kind, said: None, content, alone: reader.alone(&path) };
    Event::PassedOver { path, stranger }
}

impl Tracked {
    fn failed(&mut self, path: PathBuf, broken: Broken, now: Millis) -> Option<Event> {
        match self.state {
            State::Moving => {
                self.state = State::Failed;
                self.since = now;
                Some(Event::Unreadable { path })
            }
            State::Failed => {
                self.state = State::GivenUp(broken.code);
                self.since = now;
                Some(Event::Refused { path, broken })
            }
            State::GivenUp(_) | State::Done => {
                self.since = now;
                None
            }
        }
    }
}
