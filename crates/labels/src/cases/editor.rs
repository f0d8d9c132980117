//! One reader's labels of one image, under correction and kept after every edit.
//!
//! Owns what is written to the file of a reader, see [`super::stored`], and its revision: the name of its
//! content. An edit says which revision it was made on; if the labels are others by now, whoever changed them and with whatever program, it is refused and nothing is lost. An edit is on the
//! disk when it is answered.

use std::path::{Path, PathBuf};

use hepalert_failpoint::failpoint;
use hepalert_voxels::volume::nifti::read::read_labels;
use hepalert_voxels::volume::nifti::write::write_u8;
use hepalert_voxels::volume::{Axes, LabelMap};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::case::{Case, ImageFile};
use super::entry::{Entry, what};
use super::error::CaseError;
use super::files::{MAX_NIFTI_BYTES, hold, put, read, revision_of};
use super::folder::{Folder, damaged, image_of};
use super::given::{AS_HERE, Known, Senses};
use super::history;
use super::meaning::Meaning;
use super::reader::Reader;
use super::stored::{Who, file, labels_by, stored};
use crate::change::Change;
use crate::labelling::Labelling;
use crate::operation::{Context, Operation};

/// The revision of labels that are not on the disk yet.
pub const NEW: &str = "new";
/// Those of [`AS_HERE`] that a reader begins with: not the view in which more is false.
const BEGINNINGS: usize = 6;
/// The reader whose labels the curation loop writes: what everybody else begins with.
pub const CURATED: &str = "curated";

/// What labels begin with that a reader has not touched yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// What the curation loop made; or else the labels that came with the case, where they are
    /// known to mean what labels mean in the folder; or else a liver that came with it.
    #[default]
    Usual,
    /// No label anywhere.
    Empty,
    /// The labels that this one made or gave.
    From(Who),
}

/// An edit that is on the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// What it changed.
    pub change: Change,
    /// The labels it made.
    pub revision: String,
    /// How many steps can be undone, and how many redone.
    pub steps: [usize; 2],
}

/// Labels under correction.
#[derive(Debug)]
pub struct LabelEditor {
    case: Case,
    image: ImageFile,
    reader: Reader,
    work: PathBuf,
    meaning: Meaning,
    senses: Senses,
    labelling: Labelling,
    revision: String,
    /// What the labels began with, until that is in the history.
    begun: Option<String>,
}

impl LabelEditor {
    /// Opens a reader's labels of an image, or begins them.
    ///
    /// # Errors
    /// [`CaseError::Unknown`] for a name that there is not, [`Refused::Unnamed`] where what they
    /// would begin with has values that mean nothing here, and what is wrong with a file.
    ///
    /// [`Refused::Unnamed`]: crate::Refused::Unnamed
    pub fn open(
        folder: &Folder,
        case: &str,
        image: &str,
        reader: &Reader,
        start: &Start,
    ) -> Result<LabelEditor, CaseError> {
        let case = folder.case(case)?;
        let image = case.image(image)?;
        let (work, senses) = (folder.work_of(case), Senses::of(folder));
        let (labelling, revision, begun) = match stored(&work, image, reader)? {
            Some((labels, revision)) => (Labelling::on(&image.grid, labels)?, revision, None),
            None => {
                let (labels, from) = beginning((&work, &senses), case, image, start)?;
                labels.iter().try_for_each(|labels| folder.meaning().check_map(labels))?;
                let begun = match labels {
                    Some(labels) => Labelling::on(&image.grid, labels)?,
                    None => Labelling::empty(&image.grid),
                };
                (begun, NEW.to_owned(), from)
            }
        };
        let (case, image, reader) = (case.clone(), image.clone(), reader.clone());
        let meaning = folder.meaning().clone();
        Ok(LabelEditor { case, image, reader, work, meaning, senses, labelling, revision, begun })
    }

    /// The labels.
    pub fn labelling(&self) -> &Labelling {
        &self.labelling
    }

    /// Whose they are.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What label values mean here.
    pub fn meaning(&self) -> &Meaning {
        &self.meaning
    }

    /// Their revision; [`NEW`] until the first edit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether nothing is labelled.
    pub fn is_empty(&self) -> bool {
        self.labelling.map().voxels().iter().all(|label| *label == 0)
    }

    /// Gives the labels away.
    pub fn into_labelling(self) -> Labelling {
        self.labelling
    }

    /// Keeps the labels that are there under a name of their own, before another program's take
    /// their place: `anna` as `anna.` and the beginning of the revision. What that program made
    /// itself is not kept.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn keep_edits_aside(&self, now: Timestamp) -> Result<(), CaseError> {
        let is_taken_in = |entry: Entry| entry.what["op"] == "taken_in";
        if self.revision == NEW || self.maker(&self.revision)?.is_some_and(is_taken_in) {
            return Ok(());
        }
        let room = 40 - 9;
        let name = &self.reader.as_str()[..self.reader.as_str().len().min(room)];
        let aside = Reader::new(&format!("{name}.{}", &self.revision[..8]))?;
        let _hold = hold(&self.work)?;
        let bytes = write_u8(&self.labelling.stored());
        let what = json!({"op": "kept_aside", "from": self.reader});
        let (reader, revision) = (aside.clone(), revision_of(&bytes));
        let entry = Entry { reader, ..self.entry((now, what, 0), None, revision) };
        history::add(&self.work, &entry)?;
        put(&file(&self.work, &self.image, &aside), &bytes)
    }

    /// Makes an edit on the revision `on`.
    ///
    /// # Errors
    /// [`CaseError::Conflict`], [`CaseError::Refused`], or what the disk refuses; then nothing has
    /// changed.
    pub fn edit(
        &mut self,
        operation: &Operation,
        on: &str,
        now: Timestamp,
    ) -> Result<Saved, CaseError> {
        let hold = hold(&self.work)?;
        self.check(on)?;
        self.meaning.check(operation.labels())?;
        let image = match operation {
            Operation::Grow { .. } => Some(in_ras(image_of(&self.image)?)),
            _ => None,
        };
        let other = match operation {
            Operation::CopyFrom { phase, .. } => self.labels_of_phase(phase)?,
            Operation::TakeFrom { whose, .. } => Some(self.labels_of(&whose.parse()?)?),
            _ => None,
        };
        let context = Context { image: image.as_ref(), other: other.as_ref() };
        let change = self.labelling.apply(operation, context)?;
        let saved = self.save(change, what(operation), now);
        drop(hold);
        self.or_back(saved, Labelling::forget)
    }

    /// Takes a label map in, of whatever order its voxels are stored in, that `from` made.
    ///
    /// # Errors
    /// As [`LabelEditor::edit`].
    pub fn take_in(
        &mut self,
        labels: LabelMap,
        from: &str,
        on: &str,
        now: Timestamp,
    ) -> Result<Saved, CaseError> {
        let hold = hold(&self.work)?;
        self.check(on)?;
        self.meaning.check_map(&labels)?;
        let laid = Labelling::on(&self.image.grid, labels)?;
        let change = self.labelling.put(laid.into_map().into_voxels());
        let saved = self.save(change, json!({"op": "taken_in", "from": from}), now);
        drop(hold);
        self.or_back(saved, Labelling::forget)
    }

    /// Takes the last edit of this session back; none if there is none.
    ///
    /// # Errors
    /// As [`LabelEditor::edit`].
    pub fn undo(&mut self, on: &str, now: Timestamp) -> Result<Option<Saved>, CaseError> {
        let hold = hold(&self.work)?;
        self.check(on)?;
        let Some(change) = self.labelling.undo() else { return Ok(None) };
        let saved = self.save(change, json!({"op": "undo"}), now);
        drop(hold);
        self.or_back(saved, |labelling| {
            labelling.redo();
        })
        .map(Some)
    }

    /// Makes the edit again that was taken back last; none if there is none.
    ///
    /// # Errors
    /// As [`LabelEditor::edit`].
    pub fn redo(&mut self, on: &str, now: Timestamp) -> Result<Option<Saved>, CaseError> {
        let hold = hold(&self.work)?;
        self.check(on)?;
        let Some(change) = self.labelling.redo() else { return Ok(None) };
        let saved = self.save(change, json!({"op": "redo"}), now);
        drop(hold);
        self.or_back(saved, |labelling| {
            labelling.undo();
        })
        .map(Some)
    }

    /// What could not be kept is not done: the labels in memory are those on the disk.
    fn or_back(
        &mut self,
        saved: Result<Saved, CaseError>,
        back: impl FnOnce(&mut Labelling),
    ) -> Result<Saved, CaseError> {
        if saved.is_err() {
            back(&mut self.labelling);
        }
        saved
    }

    /// Reads the labels again if they were changed from outside.
    ///
    /// # Errors
    /// [`CaseError`] if they cannot be read.
    pub fn look_again(&mut self) -> Result<(), CaseError> {
        let path = file(&self.work, &self.image, &self.reader);
        let found = read(&path, MAX_NIFTI_BYTES)?;
        let current = found.as_deref().map_or_else(|| NEW.to_owned(), revision_of);
        // Every stroke comes here: only labels that are others are worth decoding.
        if current != self.revision {
            self.labelling = match found {
                Some(bytes) => {
                    let labels = read_labels(&bytes).map_err(damaged(&path))?;
                    Labelling::on(&self.image.grid, labels)?
                }
                None => Labelling::empty(&self.image.grid),
            };
            (self.revision, self.begun) = (current, None);
        }
        Ok(())
    }

    /// Are the labels on the disk, and those the edit was made on, the ones here? If not, the next look at
    /// the editor shows those of the disk.
    fn check(&mut self, on: &str) -> Result<(), CaseError> {
        self.look_again()?;
        let current = self.revision.clone();
        if on == current {
            return Ok(());
        }
        let by = self.maker(&current)?.map(Box::new);
        Err(CaseError::Conflict { yours: on.to_owned(), current, by })
    }

    /// The edit that made this revision of these labels: another reader's or image's may be of
    /// the same content.
    fn maker(&self, revision: &str) -> Result<Option<Entry>, CaseError> {
        let entries = history::entries(&self.work)?;
        Ok(entries.into_iter().rfind(|entry| {
            entry.revision == revision
                && entry.reader == self.reader
                && entry.image == self.image.name
        }))
    }

    fn save(&mut self, change: Change, what: Value, now: Timestamp) -> Result<Saved, CaseError> {
        let steps = self.labelling.steps();
        if change.is_empty() {
            return Ok(Saved { change, revision: self.revision.clone(), steps });
        }
        let bytes = write_u8(&self.labelling.stored());
        let revision = revision_of(&bytes);
        let mut before = Some(self.revision.clone()).filter(|before| before != NEW);
        if let Some(from) = &self.begun {
            // The labels begun with are no file of ours: their line stands for them.
            let begun = format!("begun:{from}");
            let what = json!({"op": "start", "from": from});
            let begin = self.entry((now, what, 0), None, begun.clone());
            history::add(&self.work, &begin)?;
            before = Some(begun);
        }
        let voxels = change.voxels();
        history::add(&self.work, &self.entry((now, what, voxels), before, revision.clone()))?;
        failpoint("labels_history_written");
        put(&file(&self.work, &self.image, &self.reader), &bytes)?;
        (self.revision, self.begun) = (revision.clone(), None);
        Ok(Saved { change, revision, steps })
    }

    fn entry(
        &self,
        (when, what, voxels): (Timestamp, Value, usize),
        before: Option<String>,
        revision: String,
    ) -> Entry {
        let (reader, image) = (self.reader.clone(), self.image.name.clone());
        Entry { when, reader, image, what, voxels, before, revision }
    }

    /// The same reader's labels of another phase, or what they would begin with.
    fn labels_of_phase(&self, phase: &str) -> Result<Option<LabelMap>, CaseError> {
        let image = self.case.image(phase)?;
        let labels = match stored(&self.work, image, &self.reader)? {
            Some((labels, _)) => Some(labels),
            None => beginning((&self.work, &self.senses), &self.case, image, &Start::Usual)?.0,
        };
        let laid = labels.map(|labels| Labelling::on(&image.grid, labels)).transpose()?;
        Ok(laid.map(Labelling::into_map))
    }

    /// Somebody's labels of this image, all of which mean something here.
    fn labels_of(&self, who: &Who) -> Result<LabelMap, CaseError> {
        let place = (self.work.as_path(), &self.senses);
        let (labels, _) = labels_by(place, &self.case, &self.image, who)?;
        self.meaning.check_map(&labels)?;
        Ok(Labelling::on(&self.image.grid, labels)?.into_map())
    }
}

fn in_ras<T: Copy + Send + Sync>(
    volume: hepalert_voxels::volume::Volume<T>,
) -> hepalert_voxels::volume::Volume<T> {
    Axes::ras(volume.grid()).turn_volume(volume)
}

/// What labels begin with, and what that is called in the history.
fn beginning(
    (work, senses): (&Path, &Senses),
    case: &Case,
    image: &ImageFile,
    start: &Start,
) -> Result<(Option<LabelMap>, Option<String>), CaseError> {
    let who = match start {
        Start::Empty => return Ok((None, None)),
        Start::From(who) => who.clone(),
        Start::Usual => {
            let curated = Reader::new(CURATED)?;
            if let Some((labels, _)) = stored(work, image, &curated)? {
                return Ok((Some(labels), Some(curated.to_string())));
            }
            return came_with(senses, case, image);
        }
    };
    let (labels, _) = labels_by((work, senses), case, image, &who)?;
    Ok((Some(labels), Some(who.to_string())))
}

/// The best labels that came with the case and whose meaning is known; else a liver.
fn came_with(
    senses: &Senses,
    case: &Case,
    image: &ImageFile,
) -> Result<(Option<LabelMap>, Option<String>), CaseError> {
    for name in &AS_HERE[..BEGINNINGS] {
        let Some(labels) = case.labels_on(image).find(|labels| labels.name == *name) else {
            continue;
        };
        let given = senses.look(labels)?;
        if given.known != Known::Not {
            let who = Who::Given((*name).to_owned());
            return Ok((Some(given.map), Some(who.to_string())));
        }
    }
    liver(senses, case, image)
}

/// A liver that came with the case, by its name or by what a reader said of it.
fn liver(
    senses: &Senses,
    case: &Case,
    image: &ImageFile,
) -> Result<(Option<LabelMap>, Option<String>), CaseError> {
    let Some(label) = senses.liver() else { return Ok((None, None)) };
    for labels in case.labels_on(image) {
        if senses.named(&labels.name) == Some(label) {
            let given = senses.look(labels)?;
            if given.known != Known::Not {
                let who = Who::Given(labels.name.clone());
                return Ok((Some(given.map), Some(who.to_string())));
            }
        }
    }
    Ok((None, None))
}

#[cfg(test)]
mod tests;
