//! Makes studies of files that arrive in any order, over any time.
//!
//! Owns the rules of completeness, revisions and copies, as a pure machine: what happened
//! and when goes in, what follows comes out. No clock, no file, no thread. Refuses to
//! forget: every study that was received ends as complete, refused or a copy of one, and
//! whatever belongs to no study is told by folder.
//!
//! A study is complete when it has been quiet for `quiet_s` (longer while a series has a
//! hole), when every expected phase is there beyond doubt and quiet for `phase_quiet_s`,
//! when a marker says so, or at `force_complete_s` after its first file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::file_set::{Assessment, Unusable};
use super::index::Index;
use super::progress::StudyProgress;
use super::stacks::Arrived;
use super::versions::Version;
use crate::intake::events::{
    Arriving, AssembleParams, Broken, CompletionRule, Event, Known, Millis, Stranger, StudyEvent,
};
use crate::intake::facts::{FileFacts, StudyFiles};
use crate::intake::fingerprint::{Digest, again};
use crate::intake::folder::markers::{Marker, Places};
use crate::intake::folder::stranger_kind::StrangerKind;
use crate::intake::folder::strangers::{Strangers, top_folder};
use crate::intake::reading::gate::Refusal;
use crate::intake::refusal_codes::RefusalCode;
use hepalert_study::study::StudyKey;

mod anew;
mod past;

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
    /// Studies with files, and those that went away last.
    studies: BTreeMap<StudyKey, StudyProgress>,
    owners: BTreeMap<PathBuf, StudyKey>,
    pending: BTreeMap<PathBuf, Awaited>,
    unreadable: BTreeSet<PathBuf>,
    strangers: Strangers,
    markers: Vec<(Marker, Millis)>,
    /// Something happened that may let a marker count.
    stirred: bool,
    /// What is known of studies that are not in `studies`, and all fingerprints.
    index: Index,
    /// Added to the caller's clock, so that a jump back is none here.
    offset: u64,
    now: Millis,
}

/// Says what the last result of a study was made of, if it has one.
pub(crate) type Recall<'a> = &'a dyn Fn(&StudyKey) -> Option<StudyFiles>;

/// A hole in a series stretches the quiet period by this: the missing slice is most likely
/// on its way, and a study refused for it is work for a person.
const HOLE_PATIENCE: u64 = 4;

/// More markers than this at once are dropped, oldest first: quiet periods still apply.
const MAX_MARKERS: usize = 10_000;

impl Assembler {
    /// A machine that has seen nothing but remembers what was done before.
    pub fn new(params: AssembleParams, known: Vec<Known>) -> Assembler {
        Assembler {
            params,
            studies: BTreeMap::new(),
            owners: BTreeMap::new(),
            pending: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            strangers: Strangers::default(),
            stirred: false,
            markers: Vec::new(),
            index: Index::new(known),
            offset: 0,
            now: Millis(0),
        }
    }

    /// Studies with files not yet accounted for, and folders with strangers not yet told.
    pub fn open_studies(&self) -> usize {
        let open = self.studies.values().filter(|progress| progress.opened.is_some()).count();
        open + self.strangers.open()
    }

    /// Studies of which something new has come, the newest first: not those that are only looked at
    /// again, because this process began or somebody asked.
    pub fn arriving(&self) -> Vec<Arriving> {
        let open = self.studies.iter().filter_map(|(key, progress)| progress.arriving(key));
        let mut arriving: Vec<Arriving> = open.collect();
        arriving.sort_by_key(|one| std::cmp::Reverse(one.since));
        arriving
    }

    /// Takes what happened at a moment.
    pub fn apply(&mut self, event: Event, at: Millis) -> Vec<StudyEvent> {
        self.advance(at);
        self.stirred = true;
        match event {
            Event::Pending { path, study } => {
                if let Some(progress) = study.as_ref().and_then(|key| self.studies.get_mut(key)) {
                    progress.changed = self.now;
                }
                self.pending.insert(path, Awaited { study, since: self.now });
                Vec::new()
            }
            Event::Unreadable { path } => {
                self.unreadable.insert(path);
                Vec::new()
            }
            Event::Stable { path, facts, changed_ns } => self.stable_file(path, facts, changed_ns),
            Event::Refused { path, broken } => self.refused_file(path, broken),
            Event::PassedOver { path, stranger } => {
                self.pass_over(path, stranger);
                Vec::new()
            }
            Event::Gone { path } => {
                self.release(&path);
                self.let_go(&path);
                self.strangers.remove(&path);
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

    /// Closes what is due; nothing of it was analysed before.
    pub fn tick(&mut self, now: Millis) -> Vec<StudyEvent> {
        self.tick_recalling(now, &|_| None)
    }

    /// Closes what is due. `recall` says what the last result of a study was made of: of a study that
    /// there is one of, and that is not as it was.
    pub fn tick_recalling(&mut self, now: Millis, recall: Recall<'_>) -> Vec<StudyEvent> {
        self.advance(now);
        let marked = self.marked();
        let due: Vec<(StudyKey, CompletionRule)> = self
            .studies
            .iter()
            .filter_map(|(key, progress)| {
                let why = if marked.contains(key) { Some(CompletionRule::Marker) } else { None };
                why.or_else(|| self.due(key, progress)).map(|why| (key.clone(), why))
            })
            .collect();
        let mut outcomes: Vec<StudyEvent> =
            due.into_iter().filter_map(|(key, why)| self.close(&key, why, recall)).collect();
        outcomes.extend(self.tell_strangers());
        self.forget();
        outcomes
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
        let Some(progress) = self.owners.remove(path).and_then(|key| self.studies.get_mut(&key))
        else {
            return;
        };
        progress.let_go(path);
        if progress.file_set.broken.remove(path).is_some() {
            // What stood in the way is gone: judge again.
            progress.touch(self.now, true);
        }
        progress.file_set.shrink();
    }

    fn stable_file(
        &mut self,
        path: PathBuf,
        facts: FileFacts,
        changed_ns: i128,
    ) -> Vec<StudyEvent> {
        self.release(&path);
        self.strangers.remove(&path);
        let key = facts.study.clone();
        if self.owners.get(&path).is_some_and(|owner| *owner != key) {
            self.let_go(&path);
        }
        let max_files = self.params.max_files;
        let now = self.now;
        let (progress, first) = self.study(&key);
        let item = (facts.identity(), facts.shown());
        progress.copied |= progress.file_set.holds(item.0);
        progress.file_set.broken.remove(&path);
        let same = progress
            .file_set
            .files
            .get(&path)
            .filter(|held| (held.facts.identity(), held.facts.shown()) == item);
        // The same file in its place, perhaps touched: it is as old as it was.
        let here = same.filter(|held| held.facts.content == facts.content);
        let changed_ns = here.map_or(changed_ns, |held| held.changed_ns);
        // Written over in another syntax, what was taken in is there no longer.
        let rewritten = same.is_some() && here.is_none();
        let news = rewritten || progress.is_news(&item, here.is_some());
        progress.rewritten |= rewritten;
        progress.resent |= !news;
        if progress.file_set.files.len() >= max_files
            && !progress.file_set.files.contains_key(&path)
        {
            progress.file_set.too_many = true;
        } else {
            progress.file_set.insert(path.clone(), Arrived { facts, at: now, changed_ns });
            progress.touch(now, news);
            self.owners.insert(path, key.clone());
            return past::received(key, first);
        }
        progress.touch(now, news);
        past::received(key, first)
    }

    /// A broken file counts with the study that it says it is of. One that does not say is a
    /// stranger, whatever lies beside it.
    fn refused_file(&mut self, path: PathBuf, broken: Broken) -> Vec<StudyEvent> {
        self.release(&path);
        self.let_go(&path);
        let Broken { code, said, content, study, series, alone } = broken;
        let Some(key) = study else {
            self.pass_over(
                path,
                Stranger { kind: StrangerKind::Refused(code), said: Some(said), content, alone },
            );
            return Vec::new();
        };
        self.strangers.remove(&path);
        let now = self.now;
        let (progress, first) = self.study(&key);
        progress.file_set.broken.insert(path.clone(), Unusable { code, said, content, series });
        let news = !progress.accounted.contains(&(content, content));
        progress.touch(now, news);
        self.owners.insert(path, key.clone());
        past::received(key, first)
    }

    fn pass_over(&mut self, path: PathBuf, stranger: Stranger) {
        self.release(&path);
        self.let_go(&path);
        let folder = top_folder(&self.params.root, &path);
        self.strangers.add(stranger, folder, path, self.now);
    }

    /// Which rule completes this study now, if one does.
    fn due(&self, key: &StudyKey, progress: &StudyProgress) -> Option<CompletionRule> {
        let opened = progress.opened?;
        let AssembleParams { quiet_s, phase_quiet_s, force_complete_s, .. } = self.params;
        if self.now.is_past(opened, Millis::from_s(force_complete_s)) {
            return Some(CompletionRule::Forced);
        }
        let quiet = Millis::from_s(quiet_s);
        let patient = Millis(quiet.0.saturating_mul(HOLE_PATIENCE));
        let why = if self.now.is_past(progress.changed, quiet) {
            let long = self.now.is_past(progress.changed, patient);
            (long || !progress.file_set.awaits_slices()).then_some(CompletionRule::QuietPeriod)
        } else {
            let AssembleParams { expected, rules, .. } = &self.params;
            let since = self.now.less(Millis::from_s(phase_quiet_s))?;
            progress
                .file_set
                .is_surely_whole(expected, rules, since)
                .then_some(CompletionRule::AllPhases)
        };
        why.filter(|why| !self.is_waited_for(key, progress, *why))
    }

    /// True while a file may still be part of this study: it says so by name, or it lies
    /// beside the study's files and is half there, or was seen before the last of them was
    /// read. Files seen later are of other studies as likely as not; only a study that need
    /// not wait for its quiet period waits for them too.
    fn is_waited_for(&self, key: &StudyKey, progress: &StudyProgress, why: CompletionRule) -> bool {
        let folders: BTreeSet<Option<&Path>> =
            progress.file_set.files.keys().map(|path| path.parent()).collect();
        let beside = |path: &PathBuf| folders.contains(&path.parent());
        let early = why == CompletionRule::AllPhases;
        let holds = |(path, awaited): (&PathBuf, &Awaited)| match &awaited.study {
            Some(study) => study == key,
            None => (early || awaited.since <= progress.changed) && beside(path),
        };
        self.pending.iter().any(holds) || self.unreadable.iter().any(beside)
    }

    /// The open studies that a marker completes now. A marker counts once.
    fn marked(&mut self) -> BTreeSet<StudyKey> {
        let keep = Millis::from_s(self.params.force_complete_s);
        let now = self.now;
        self.markers.retain(|(_, at)| !now.is_past(*at, keep) || self.stirred);
        if !std::mem::take(&mut self.stirred) || self.markers.is_empty() {
            return BTreeSet::new();
        }
        let waiting = self.pending.keys().chain(&self.unreadable).collect();
        let places = Places::new(&self.params.root, &self.owners, waiting);
        let mut marked = BTreeSet::new();
        let mut left = Vec::new();
        for (marker, at) in std::mem::take(&mut self.markers) {
            match places.covered(&marker) {
                Some(covered) => {
                    let open = |key: &&StudyKey| self.studies[*key].opened.is_some();
                    marked.extend(covered.into_iter().filter(open).cloned());
                }
                None if now.is_past(at, keep) => {}
                None => left.push((marker, at)),
            }
        }
        self.markers = left;
        marked
    }

    fn close(
        &mut self,
        key: &StudyKey,
        why: CompletionRule,
        recall: Recall<'_>,
    ) -> Option<StudyEvent> {
        let progress = self.studies.get_mut(key)?;
        progress.opened = None;
        let copied = std::mem::take(&mut progress.copied);
        let resent = std::mem::take(&mut progress.resent);
        let news = std::mem::take(&mut progress.news);
        let lost = std::mem::take(&mut progress.lost);
        if progress.file_set.is_empty() && progress.revision > 0 {
            return if lost && news { self.vanished(key) } else { None };
        }
        if !news && let Some(fingerprint) = progress.account {
            let told = copied || resent;
            return told.then(|| StudyEvent::Duplicate { key: key.clone(), fingerprint, resent });
        }
        let assessment = progress.file_set.assess_any(&self.params);
        if progress.is_part_again(&assessment, &self.index, || recall(key)) {
            let again = |fingerprint| StudyEvent::Duplicate {
                key: key.clone(),
                fingerprint,
                resent: false,
            };
            return if lost { self.vanished(key) } else { progress.account.map(again) };
        }
        // What was there before and is no longer, is news if it comes back.
        progress.accounted = progress.file_set.items().collect();
        let vanished = progress.file_set.is_empty();
        let same = match assessment {
            Assessment::Refused { fingerprint, refusal } => {
                progress.remembered = false;
                if std::mem::take(&mut progress.failed) {
                    let anew = again(fingerprint, progress.revision + 1);
                    return Some(self.refuse(key, anew, refusal));
                }
                if progress.account == Some(fingerprint)
                    || (self.index.has(&fingerprint) && !vanished)
                {
                    progress.account = Some(fingerprint);
                    copied.then_some((fingerprint, false))
                } else {
                    return Some(self.refuse(key, fingerprint, refusal));
                }
            }
            Assessment::Whole(versions) => match self.complete(key, &versions, why) {
                Ok(outcome) => return Some(outcome),
                Err((fingerprint, elsewhere)) => {
                    (copied || elsewhere).then_some((fingerprint, resent))
                }
            },
        };
        match same {
            // Of what came last nothing is left, and what is left is known.
            _ if lost => self.vanished(key),
            Some((fingerprint, resent)) => {
                Some(StudyEvent::Duplicate { key: key.clone(), fingerprint, resent })
            }
            None => None,
        }
    }

    /// A later revision whose files went away before they were taken in.
    fn vanished(&mut self, key: &StudyKey) -> Option<StudyEvent> {
        let progress = self.studies.get_mut(key)?;
        let fingerprint = again(progress.file_set.whole_fingerprint(), progress.revision + 1);
        let detail = "files that came after the study was taken in went away again";
        let refusal = Refusal::new(RefusalCode::Vanished, detail, progress.file_set.files.len());
        let account = progress.account;
        let outcome = self.refuse(key, fingerprint, refusal);
        // What is left is what was taken in.
        self.studies.get_mut(key)?.account = account;
        Some(outcome)
    }

    fn refuse(&mut self, key: &StudyKey, fingerprint: Digest, refusal: Refusal) -> StudyEvent {
        let (progress, _) = self.study(key);
        progress.account = Some(fingerprint);
        progress.revision += 1;
        let revision = progress.revision;
        self.index.note(fingerprint, key);
        StudyEvent::Refused { key: key.clone(), revision, fingerprint, refusal }
    }

    /// The newest content of every slice as a new revision; or the fingerprint that it has
    /// already, and whether under another key.
    fn complete(
        &mut self,
        key: &StudyKey,
        versions: &[Version],
        why: CompletionRule,
    ) -> Result<StudyEvent, (Digest, bool)> {
        let progress = self.studies.entry(key.clone()).or_default();
        let (newest, fingerprint) = progress.next(key, versions, &self.index)?;
        let root = &self.params.root;
        let folders: BTreeSet<PathBuf> =
            progress.file_set.files.keys().map(|path| top_folder(root, path)).collect();
        let mut passed_over = progress.file_set.passed_over();
        for (kind, count) in self.strangers.beside(&folders) {
            *passed_over.entry(kind).or_default() += count;
        }
        let parents = progress.file_set.files.keys().filter_map(|path| path.parent()).collect();
        let unreadable_beside = self.strangers.unreadable_in(&parents);
        let study = progress.study(key, newest, fingerprint, unreadable_beside);
        self.index.note(fingerprint, key);
        Ok(StudyEvent::Complete { study, why, passed_over })
    }
}
