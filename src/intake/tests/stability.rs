//! When a file counts as whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::intake::events::{Broken, Event, Millis};
use crate::intake::facts::FileFacts;
use crate::intake::facts::Part;
use crate::intake::fingerprint::{Digest, study_key};
use crate::intake::folder::listing::{Snapshot, Stamp};
use crate::intake::folder::names::{NiftiName, Tag};
use crate::intake::folder::stability::{FileStability, Reader, StabilityParams};
use crate::intake::folder::stranger_kind::StrangerKind;
use crate::intake::reading::probe::ProbeError;
use crate::intake::refusal_codes::RefusalCode;
use hepalert_study::study::StudyKey;

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
                images: None,
                person: None,
                part: Part::Nifti(NiftiName { case: "s".into(), tag: Tag::Sole }),
            }),
            Some("half") => Err(ProbeError::Broken(broken(RefusalCode::TruncatedFile))),
            Some("shut") => Err(ProbeError::Broken(broken(RefusalCode::Unreadable))),
            Some("note") => Err(ProbeError::Foreign(StrangerKind::Foreign)),
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
    story.seen.ignored.insert("/e/x.part".into(), (STILL, StrangerKind::Unfinished));
    story.seen.ignored.insert("/e/link".into(), (STILL, StrangerKind::Link));
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
