//! Tells files that are whole from files that are still being written.
//!
//! Owns the rule: a file counts when size and time are the same over two looks at least
//! `settle_s` apart (any two looks, if inotify told that its writer closed it), and it can
//! be read. One that lies still and cannot be read is given up after `give_up_s`. Every file
//! is read once per content. Knows no clock and opens nothing: a probe is handed in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::events::{Broken, Event, Millis, Stranger};
use super::facts::FileFacts;
use super::fingerprint::Digest;
use super::markers::Marker;
use super::names;
use super::probe::ProbeError;
use super::reasons::RefusalCode;
use super::watch::{Snapshot, Stamp};
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
        StabilityParams { settle_s: 3.0, give_up_s: 600.0, files_per_step: 256 }
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
pub struct FileStability {
    params: StabilityParams,
    files: BTreeMap<PathBuf, Tracked>,
    ignored: BTreeMap<PathBuf, Passed>,
    markers: BTreeMap<PathBuf, Stamp>,
}

/// What a step brought.
#[derive(Debug, Default)]
pub struct Settled {
    /// In the order in which they are to be applied.
    pub events: Vec<Event>,
    /// More files are due: take the next step soon.
    pub more: bool,
}

/// Reads a file, and knows whose it is by name.
pub trait Reader: Sync {
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

impl Reader for super::probe::Probe<'_> {
    fn read(&self, path: &Path, stamp: Stamp) -> Result<FileFacts, ProbeError> {
        super::probe::Probe::read(self, path, stamp)
    }

    fn study_by_name(&self, path: &Path) -> Option<StudyKey> {
        super::probe::Probe::study_by_name(self, path)
    }

    fn alone(&self, path: &Path) -> StudyKey {
        super::probe::Probe::alone(self, path)
    }
}

impl FileStability {
    /// Knows no file yet.
    pub fn new(params: StabilityParams) -> FileStability {
        FileStability {
            params,
            files: BTreeMap::new(),
            ignored: BTreeMap::new(),
            markers: BTreeMap::new(),
        }
    }

    /// Files that are not yet whole.
    pub fn moving(&self) -> usize {
        self.files.values().filter(|file| file.state == State::Moving).count()
    }

    /// These files are to be read again though they look the same.
    pub fn doubt(&mut self, paths: &[PathBuf], now: Millis) {
        for path in paths {
            if let Some(file) = self.files.get_mut(path) {
                (file.since, file.closed, file.state) = (now, false, State::Moving);
            }
        }
    }

    /// Compares a look with the one before, and reads what lies still.
    pub fn step(&mut self, seen: &Snapshot, now: Millis, reader: &dyn Reader) -> Settled {
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
                events.push(passed_over(path.clone(), Stranger::NEVER_STILL, content, reader));
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
        let folders = folders.map(|folder| (folder, (closed, Stranger::CLOSED_FOLDER)));
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
            let soon = [Stranger::LINK, Stranger::CLOSED_FOLDER].contains(&kind);
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

fn passed_over(path: PathBuf, kind: &'static str, content: Digest, reader: &dyn Reader) -> Event {
    let stranger = Stranger { kind, content, alone: reader.alone(&path) };
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;
    use crate::intake::facts::Part;
    use crate::intake::fingerprint::{Digest, study_key};
    use crate::intake::names::{NiftiName, Tag};

    /// Files by name: what is in them, `ok` or a word for what is wrong.
    #[derive(Default)]
    struct Disk {
        files: Mutex<BTreeMap<PathBuf, &'static str>>,
        read: Mutex<Vec<PathBuf>>,
    }

    impl Reader for Disk {
        fn read(&self, path: &Path, _: Stamp) -> Result<FileFacts, ProbeError> {
            self.read.lock().unwrap().push(path.to_owned());
            let content = Digest::of(path.to_str().unwrap().as_bytes());
            let broken = |code| {
                let alone = study_key(b"", "alone");
                let (said, study, series) = (String::new(), None, None);
                Broken { code, said, content, study, series, alone }
            };
            match self.files.lock().unwrap().get(path).copied() {
                Some("ok") => Ok(FileFacts {
                    study: study_key(b"", "s"),
                    content,
                    part: Part::Nifti(NiftiName { case: "s".into(), tag: Tag::Sole }),
                }),
                Some("half") => Err(ProbeError::Broken(broken(RefusalCode::TruncatedFile))),
                Some("shut") => Err(ProbeError::Broken(broken(RefusalCode::Unreadable))),
                Some("note") => Err(ProbeError::Foreign(Stranger::FOREIGN)),
                _ => Err(ProbeError::Changed),
            }
        }

        fn study_by_name(&self, _: &Path) -> Option<StudyKey> {
            None
        }

        fn alone(&self, _: &Path) -> StudyKey {
            study_key(b"", "alone")
        }
    }

    struct Story {
        stability: FileStability,
        seen: Snapshot,
        disk: Disk,
        now: u64,
    }

    impl Story {
        fn new() -> Story {
            let stability = FileStability::new(StabilityParams {
                settle_s: 5.0,
                give_up_s: 300.0,
                files_per_step: 3,
            });
            Story { stability, seen: Snapshot::default(), disk: Disk::default(), now: 0 }
        }

        fn write(&mut self, name: &str, bytes: u64, what: &'static str) -> &mut Story {
            let at = i128::from(self.now);
            let stamp = Stamp { bytes, mtime_ns: at, ctime_ns: at, inode: 1 };
            self.seen.files.insert(name.into(), stamp);
            self.disk.files.lock().unwrap().insert(name.into(), what);
            self
        }

        /// A look, `seconds` after the last.
        fn look(&mut self, seconds: u64) -> Vec<String> {
            self.now += seconds;
            let found = self.stability.step(&self.seen, Millis(self.now * 1000), &self.disk);
            found.events.iter().map(words).collect()
        }
    }

    fn words(event: &Event) -> String {
        match event {
            Event::Pending { path, .. } => format!("pending {}", path.display()),
            Event::Unreadable { path } => format!("unreadable {}", path.display()),
            Event::Stable { path, .. } => format!("settled {}", path.display()),
            Event::Refused { path, broken } => format!("{} {}", broken.code, path.display()),
            Event::Gone { path } => format!("gone {}", path.display()),
            Event::PassedOver { path, stranger } => {
                format!("{}: {}", stranger.kind, path.display())
            }
            Event::Marker(marker) => format!("marker {:?}", marker.stem),
        }
    }

    const NOTHING: [&str; 0] = [];
    const STILL: Stamp = Stamp { bytes: 0, mtime_ns: 0, ctime_ns: 0, inode: 0 };

    #[test]
    fn a_change_that_keeps_size_and_time_is_seen() {
        let mut story = Story::new();
        story.write("a", 1, "ok").look(0);
        assert_eq!(story.look(5), ["settled a"]);
        story.seen.files.get_mut(Path::new("a")).unwrap().ctime_ns += 1;
        assert_eq!(story.look(1), ["pending a"]);
        assert_eq!(story.look(5), ["settled a"]);
    }

    #[test]
    fn what_is_not_looked_into_is_told_when_it_is_given_up() {
        let mut story = Story::new();
        story.seen.ignored.insert("/e/x.part".into(), (STILL, Stranger::UNFINISHED));
        story.seen.ignored.insert("/e/link".into(), (STILL, Stranger::LINK));
        story.seen.blind.push("/e/shut".into());
        story.seen.folders.insert("/e/shut".into());
        assert_eq!(story.look(0), NOTHING);
        assert_eq!(story.look(5), ["link: /e/link", "closed_folder: /e/shut"]);
        assert_eq!(story.look(294), NOTHING);
        assert_eq!(story.look(1), ["unfinished: /e/x.part"]);
        assert_eq!(story.look(9000), NOTHING, "told once");
        story.seen.ignored.clear();
        story.seen.blind.clear();
        assert_eq!(story.look(1), ["gone /e/link", "gone /e/shut", "gone /e/x.part"]);
    }

    #[test]
    fn a_file_that_is_written_without_end_is_told() {
        let mut story = Story::new();
        let mut told = Vec::new();
        for n in 0..1000 {
            told.extend(story.write("a", n, "ok").look(4));
        }
        told.retain(|word| word != "pending a");
        assert_eq!(told, ["never_still: a"]);
        assert_eq!(story.look(5), ["settled a"], "and is read once it lies still");
    }

    #[test]
    fn a_doubted_file_is_read_again() {
        let mut story = Story::new();
        story.write("a", 1, "ok").look(0);
        assert_eq!(story.look(6), ["settled a"]);
        assert_eq!(story.look(6), NOTHING);
        story.stability.doubt(&["a".into(), "elsewhere".into()], Millis(story.now * 1000));
        assert_eq!(story.look(3), NOTHING);
        assert_eq!(story.look(3), ["settled a"]);
    }

    #[test]
    fn a_file_counts_once_it_lies_still() {
        let mut story = Story::new();
        assert_eq!(story.write("a", 1, "ok").look(0), ["pending a"]);
        assert_eq!(story.write("a", 2, "ok").look(4), ["pending a"]);
        assert_eq!(story.look(4), NOTHING);
        assert_eq!(story.look(1), ["settled a"]);
        assert_eq!(story.look(1000), NOTHING);
        assert_eq!(story.disk.read.lock().unwrap().len(), 1, "read once per content");
        assert_eq!(story.write("a", 3, "ok").look(1), ["pending a"], "changed");
        assert_eq!(story.look(5), ["settled a"]);
    }

    #[test]
    fn a_file_that_its_writer_closed_need_only_be_seen_twice() {
        let mut story = Story::new();
        story.write("a", 1, "ok").seen.closed.insert("a".into());
        assert_eq!(story.look(0), ["pending a"], "never on the first look");
        story.seen.closed.clear();
        assert_eq!(story.look(1), ["settled a"]);
        // Closed, opened again and written on: the old notice says nothing.
        story.write("a", 2, "ok").seen.closed.insert("a".into());
        story.look(1);
        story.seen.closed.clear();
        assert_eq!(story.write("a", 3, "ok").look(1), ["pending a"]);
        assert_eq!(story.look(1), NOTHING);
    }

    #[test]
    fn a_half_written_file_waits_and_is_given_up_in_the_end() {
        let mut story = Story::new();
        story.write("a", 1, "half").look(0);
        assert_eq!(story.look(5), ["unreadable a"]);
        assert_eq!(story.look(299), NOTHING);
        assert_eq!(story.look(1), ["truncated_file a"]);
        assert_eq!(story.look(10_000), NOTHING, "told once");
        assert_eq!(story.write("a", 2, "ok").look(1), ["pending a"]);
        assert_eq!(story.look(5), ["settled a"], "the rest came");
    }

    #[test]
    fn a_file_that_may_not_be_read_is_tried_again() {
        let mut story = Story::new();
        story.write("a", 1, "shut").look(0);
        story.look(5);
        assert_eq!(story.look(300), ["unreadable a"]);
        assert_eq!(story.look(300), NOTHING);
        story.disk.files.lock().unwrap().insert("a".into(), "ok");
        assert_eq!(story.look(300), ["settled a"], "permissions were mended");
    }

    #[test]
    fn what_is_no_image_and_what_goes_away_is_let_go() {
        let mut story = Story::new();
        story.write("note", 1, "note").look(0);
        assert_eq!(story.look(5), ["foreign: note"]);
        assert_eq!(story.look(500), NOTHING);
        story.write("a", 1, "gone").look(0);
        assert_eq!(story.look(5), NOTHING, "changed while it was read");
        story.seen.files.remove(Path::new("a"));
        assert_eq!(story.look(1), ["gone a"]);
    }

    #[test]
    fn a_folder_that_is_not_seen_loses_nothing() {
        let mut story = Story::new();
        story.write("/e/a", 1, "ok").look(0);
        story.look(5);
        let before = std::mem::take(&mut story.seen);
        story.seen.blind.push("/e".into());
        assert_eq!(story.look(1), NOTHING);
        story.seen = before;
        assert_eq!(story.look(1), NOTHING, "back, and unchanged");
        story.seen = Snapshot::default();
        assert_eq!(story.look(1), ["gone /e/a"]);
    }

    #[test]
    fn a_step_reads_so_many_files_and_says_that_there_are_more() {
        let mut story = Story::new();
        for name in ["a", "b", "c", "d", "e"] {
            story.write(name, 1, "ok");
        }
        story.seen.markers.insert("/e/x.done".into(), STILL);
        assert_eq!(story.look(0).last().unwrap(), "marker \"x\"", "after the files");
        assert_eq!(story.look(5), ["settled a", "settled b", "settled c"]);
        assert_eq!(story.look(0), ["settled d", "settled e"]);
        assert_eq!(story.stability.moving(), 0);
    }

    #[test]
    fn a_clock_set_back_delays_by_no_more_than_the_settle_time() {
        let mut story = Story::new();
        story.now = 1000;
        story.write("a", 1, "ok").look(0);
        story.now = 3;
        assert_eq!(story.look(0), NOTHING);
        assert_eq!(story.look(5), ["settled a"]);
    }
}
