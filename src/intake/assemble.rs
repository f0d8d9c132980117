//! Makes studies of files that arrive in any order, over any time.
//!
//! Owns the rules of completeness, revisions and copies, as a pure machine: what happened
//! and when goes in, what follows comes out. No clock, no file, no thread. Refuses to
//! forget: every study that was received ends as complete, refused or a copy of one.
//!
//! A study is complete when it has been quiet for `quiet_s` (longer while a series has a
//! hole), when every expected phase is there beyond doubt and quiet for `phase_quiet_s`,
//! when a marker says so, or at `force_complete_s` after its first file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::events::{AssembleParams, Broken, Event, Known, Millis, Outcome, Why};
use super::facts::{FileFacts, StudyFiles};
use super::fingerprint::{Digest, Item};
use super::gate::Refusal;
use super::gathered::{Gathered, Held, Judgement, Version};
use super::markers::Marker;
use hepalert_study::study::StudyKey;

/// One study in time.
#[derive(Debug, Default)]
struct Course {
    gathered: Gathered,
    /// When the files that are not yet accounted for began to come.
    opened: Option<Millis>,
    /// The newest change.
    changed: Millis,
    /// The last revision given.
    revision: u32,
    /// A copy or the same file again came since the last account.
    copied: bool,
    /// Something came that was in no account yet.
    news: bool,
    /// The fingerprint of the last account: complete, refused or a copy.
    account: Option<Digest>,
    /// Everything that was in an account.
    accounted: BTreeSet<Item>,
}

/// A file that was seen and is not yet read.
#[derive(Debug)]
struct Awaited {
    /// Whose, if its name says so.
    study: Option<StudyKey>,
    /// Seen like this since.
    since: Millis,
}

/// The machine.
#[derive(Debug)]
pub struct Assembler {
    params: AssembleParams,
    courses: BTreeMap<StudyKey, Course>,
    owners: BTreeMap<PathBuf, StudyKey>,
    pending: BTreeMap<PathBuf, Awaited>,
    unreadable: BTreeSet<PathBuf>,
    markers: Vec<(Marker, Millis)>,
    known: BTreeMap<Digest, (StudyKey, u32)>,
    /// Added to the caller's clock, so that a jump back is none here.
    offset: u64,
    now: Millis,
}

/// A hole in a series stretches the quiet period by this: the missing slice is most likely
/// on its way, and a study refused for it is work for a person.
const HOLE_PATIENCE: u64 = 4;

/// More markers than this at once are dropped, oldest first: quiet periods still apply.
const MAX_MARKERS: usize = 10_000;

impl Assembler {
    /// A machine that has seen nothing but remembers what was done before.
    pub fn new(params: AssembleParams, known: Vec<Known>) -> Assembler {
        let mut machine = Assembler {
            params,
            courses: BTreeMap::new(),
            owners: BTreeMap::new(),
            pending: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            markers: Vec::new(),
            known: BTreeMap::new(),
            offset: 0,
            now: Millis(0),
        };
        for Known { key, fingerprint, revision } in known {
            let course = machine.courses.entry(key.clone()).or_default();
            course.revision = course.revision.max(revision);
            machine.known.insert(fingerprint, (key, revision));
        }
        machine
    }

    /// Studies with files not yet accounted for.
    pub fn open_studies(&self) -> usize {
        self.courses.values().filter(|course| course.opened.is_some()).count()
    }

    /// Takes what happened at a moment.
    pub fn apply(&mut self, event: Event, at: Millis) -> Vec<Outcome> {
        self.advance(at);
        match event {
            Event::Pending { path, study } => {
                if let Some(course) = study.as_ref().and_then(|key| self.courses.get_mut(key)) {
                    course.changed = self.now;
                }
                self.pending.insert(path, Awaited { study, since: self.now });
                Vec::new()
            }
            Event::Unreadable { path } => {
                self.unreadable.insert(path);
                Vec::new()
            }
            Event::Settled { path, facts } => self.settled(path, facts),
            Event::Rejected { path, broken } => self.rejected(path, broken),
            Event::Gone { path } => {
                self.release(&path);
                self.let_go(&path);
                Vec::new()
            }
            Event::Marker(marker) => {
                self.markers.retain(|(other, _)| *other != marker);
                self.markers.push((marker, self.now));
                if self.markers.len() > MAX_MARKERS {
                    self.markers.remove(0);
                }
                Vec::new()
            }
        }
    }

    /// Closes what is due.
    pub fn tick(&mut self, now: Millis) -> Vec<Outcome> {
        self.advance(now);
        let marked = self.marked();
        let due: Vec<(StudyKey, Why)> = self
            .courses
            .iter()
            .filter_map(|(key, course)| {
                let why = if marked.contains(key) { Some(Why::Marker) } else { None };
                why.or_else(|| self.due(key, course)).map(|why| (key.clone(), why))
            })
            .collect();
        due.into_iter().filter_map(|(key, why)| self.close(&key, why)).collect()
    }

    /// Time here never runs backwards, and goes on when the caller's clock was set back.
    fn advance(&mut self, at: Millis) {
        let moved = Millis(at.0.saturating_add(self.offset));
        if moved < self.now {
            self.offset = self.now.0.saturating_sub(at.0);
        } else {
            self.now = moved;
        }
    }

    /// The path is no longer waited for.
    fn release(&mut self, path: &PathBuf) {
        self.pending.remove(path);
        self.unreadable.remove(path);
    }

    /// The path no longer belongs to its study.
    fn let_go(&mut self, path: &PathBuf) {
        let Some(course) = self.owners.remove(path).and_then(|key| self.courses.get_mut(&key))
        else {
            return;
        };
        course.gathered.remove(path);
        if course.gathered.broken.remove(path).is_some() {
            // What stood in the way is gone: judge again.
            course.touch(self.now, true);
        }
    }

    fn settled(&mut self, path: PathBuf, facts: FileFacts) -> Vec<Outcome> {
        self.release(&path);
        let key = facts.study.clone();
        if self.owners.get(&path).is_some_and(|owner| *owner != key) {
            self.let_go(&path);
        }
        let first = !self.courses.contains_key(&key);
        let course = self.courses.entry(key.clone()).or_default();
        let item = (facts.identity(), facts.content);
        course.copied |= course.gathered.holds(item.0);
        course.gathered.broken.remove(&path);
        if course.gathered.files.len() >= self.params.max_files
            && !course.gathered.files.contains_key(&path)
        {
            course.gathered.too_many = true;
        } else {
            course.gathered.insert(path.clone(), Held { facts, at: self.now });
            self.owners.insert(path, key.clone());
        }
        let news = !course.accounted.contains(&item);
        course.touch(self.now, news);
        if first { vec![Outcome::Received { key }] } else { Vec::new() }
    }

    fn rejected(&mut self, path: PathBuf, broken: Broken) -> Vec<Outcome> {
        self.release(&path);
        self.let_go(&path);
        let neighbours: BTreeSet<&StudyKey> = self
            .owners
            .iter()
            .filter(|(other, _)| other.parent() == path.parent())
            .map(|(_, key)| key)
            .collect();
        let neighbour = neighbours.first().filter(|_| neighbours.len() == 1 && broken.claims_dicom);
        let Some(key) = broken.study.clone().or_else(|| neighbour.map(|key| (*key).clone())) else {
            return self.refuse_alone(broken);
        };
        let first = !self.courses.contains_key(&key);
        let course = self.courses.entry(key.clone()).or_default();
        course.gathered.broken.insert(path.clone(), (broken.code, broken.content));
        let news = !course.accounted.contains(&(broken.content, broken.content));
        course.touch(self.now, news);
        self.owners.insert(path, key.clone());
        if first { vec![Outcome::Received { key }] } else { Vec::new() }
    }

    /// A file that belongs to no study is refused by itself.
    fn refuse_alone(&mut self, broken: Broken) -> Vec<Outcome> {
        let Broken { code, content, alone: key, .. } = broken;
        if self.known.get(&content).is_some_and(|(owner, _)| *owner == key) {
            return Vec::new();
        }
        let course = self.courses.entry(key.clone()).or_default();
        course.revision += 1;
        let revision = course.revision;
        self.known.insert(content, (key.clone(), revision));
        let refusal = Refusal::new(code, "a single file", 1);
        vec![Outcome::Refused { key, revision, fingerprint: content, refusal }]
    }

    /// Which rule completes this study now, if one does.
    fn due(&self, key: &StudyKey, course: &Course) -> Option<Why> {
        let opened = course.opened?;
        let AssembleParams { quiet_s, phase_quiet_s, force_complete_s, .. } = self.params;
        if self.now.is_past(opened, Millis::from_s(force_complete_s)) {
            return Some(Why::Forced);
        }
        let quiet = Millis::from_s(quiet_s);
        let patient = Millis(quiet.0.saturating_mul(HOLE_PATIENCE));
        let why = if self.now.is_past(course.changed, quiet) {
            let long = self.now.is_past(course.changed, patient);
            (long || !course.gathered.awaits_slices()).then_some(Why::QuietPeriod)
        } else {
            let AssembleParams { expected, rules, .. } = &self.params;
            let since = self.now.less(Millis::from_s(phase_quiet_s))?;
            course.gathered.is_surely_whole(expected, rules, since).then_some(Why::AllPhases)
        };
        why.filter(|why| !self.is_waited_for(key, course, *why))
    }

    /// True while a file may still be part of this study: it says so by name, or it lies
    /// beside the study's files and is half there, or was seen before the last of them was
    /// read. Files seen later are of other studies as likely as not; only a study that need
    /// not wait for its quiet period waits for them too.
    fn is_waited_for(&self, key: &StudyKey, course: &Course, why: Why) -> bool {
        let folders: BTreeSet<Option<&Path>> =
            course.gathered.files.keys().map(|path| path.parent()).collect();
        let beside = |path: &PathBuf| folders.contains(&path.parent());
        let early = why == Why::AllPhases;
        let holds = |(path, awaited): (&PathBuf, &Awaited)| match &awaited.study {
            Some(study) => study == key,
            None => (early || awaited.since <= course.changed) && beside(path),
        };
        self.pending.iter().any(holds) || self.unreadable.iter().any(beside)
    }

    /// The open studies that a marker completes now. A marker counts once.
    fn marked(&mut self) -> BTreeSet<StudyKey> {
        let keep = Millis::from_s(self.params.force_complete_s);
        let mut marked = BTreeSet::new();
        let mut left = Vec::new();
        for (marker, at) in std::mem::take(&mut self.markers) {
            let waiting: Vec<&PathBuf> = self.pending.keys().chain(&self.unreadable).collect();
            let owned: Vec<&PathBuf> = self.owners.keys().collect();
            let range = marker.range(waiting.iter().chain(&owned).copied(), &self.params.root);
            let covered: BTreeSet<&StudyKey> = self
                .owners
                .iter()
                .filter(|(path, _)| range.covers(path))
                .map(|(_, key)| key)
                .collect();
            let waits = covered.is_empty() || waiting.iter().any(|path| range.covers(path));
            if waits {
                if !self.now.is_past(at, keep) {
                    left.push((marker, at));
                }
                continue;
            }
            let open = |key: &&&StudyKey| self.courses[**key].opened.is_some();
            marked.extend(covered.iter().filter(open).map(|key| (*key).clone()));
        }
        self.markers = left;
        marked
    }

    fn close(&mut self, key: &StudyKey, why: Why) -> Option<Outcome> {
        let course = self.courses.get_mut(key)?;
        course.opened = None;
        let copied = std::mem::take(&mut course.copied);
        let news = std::mem::take(&mut course.news);
        course.accounted.extend(course.gathered.items());
        let vanished = course.gathered.is_empty();
        if vanished && course.revision > 0 {
            return None;
        }
        if !news && let Some(fingerprint) = course.account {
            return copied.then(|| Outcome::Duplicate { key: key.clone(), fingerprint });
        }
        match course.gathered.judge_any(&self.params) {
            Judgement::Refused { fingerprint, refusal } => {
                course.account = Some(fingerprint);
                if self.known.contains_key(&fingerprint) && !vanished {
                    return copied.then(|| Outcome::Duplicate { key: key.clone(), fingerprint });
                }
                course.revision += 1;
                let revision = course.revision;
                self.known.insert(fingerprint, (key.clone(), revision));
                Some(Outcome::Refused { key: key.clone(), revision, fingerprint, refusal })
            }
            Judgement::Whole(versions) => self.complete(key, versions, copied, why),
        }
    }

    fn complete(
        &mut self,
        key: &StudyKey,
        versions: Vec<Version>,
        copied: bool,
        why: Why,
    ) -> Option<Outcome> {
        let course = self.courses.get_mut(key)?;
        let done = versions.iter().find_map(|version| {
            self.known.get(&version.fingerprint).map(|owner| (version.fingerprint, &owner.0 != key))
        });
        if let Some((fingerprint, elsewhere)) = done {
            course.account = Some(fingerprint);
            let told = copied || elsewhere;
            return told.then(|| Outcome::Duplicate { key: key.clone(), fingerprint });
        }
        let Version { fingerprint, phases, candidates, acquired_ms } =
            versions.into_iter().next()?;
        course.revision += 1;
        course.account = Some(fingerprint);
        let used: usize = phases.iter().map(|phase| phase.files.len()).sum();
        let study = StudyFiles {
            key: key.clone(),
            revision: course.revision,
            fingerprint,
            phases,
            candidates,
            acquired: acquired_ms.and_then(civil),
            set_aside: course.gathered.files.len() - used,
        };
        self.known.insert(fingerprint, (key.clone(), study.revision));
        Some(Outcome::Complete { study, why })
    }
}

impl Course {
    fn touch(&mut self, now: Millis, news: bool) {
        self.opened.get_or_insert(now);
        self.changed = now;
        self.news |= news;
    }
}

/// `2025-01-31T10:11:12.000`, without zone: scanners do not say theirs.
fn civil(ms: i64) -> Option<String> {
    let moment = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(jiff::tz::TimeZone::UTC.to_datetime(moment).strftime("%Y-%m-%dT%H:%M:%S%.3f").to_string())
}
