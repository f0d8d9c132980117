//! The paper's curation loop (its Fig. 6): a network labels what nobody has, people correct what
//! disagrees most, and both make the next training set.
//!
//! Owns the order of the steps. Runs an engine over a folder of cases, fuses its labels with
//! partial ones of people, lists the cases by disagreement with pictures, takes corrected labels
//! back in and writes the set with a manifest of where each label came from. Every step that is
//! done is not done again. Refuses to train, and to touch what it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::analyze::Analyzer;
use crate::report::output::{self, OutputError};
use hepalert_labels::cases::dataset::{DataSet, Written};
use hepalert_labels::cases::editor::CURATED;
use hepalert_labels::cases::order::Order;
use hepalert_labels::cases::stored::{first_as_given, first_of, is_labelled};
use hepalert_labels::cases::{
    Case, CaseError, Folder, ImageFile, LabelEditor, Meaning, Reader, Start, Who,
};
use hepalert_labels::fuse::{fuse, origins};
use hepalert_labels::labelling::Labelling;
use hepalert_study::anatomy::{Lesion, is_lesion};
use hepalert_voxels::volume::LabelMap;

mod judge;
mod picture;
mod predict;
mod table;

pub(crate) use predict::{Predicted, Unpredicted, infer};
pub(crate) use table::{Row, Status};

/// What is to be done.
pub(crate) struct Plan<'a> {
    /// The cases.
    pub folder: &'a Folder,
    /// Where the engine's reports, the table and the pictures go.
    pub out: &'a Path,
    /// Whose labels are a person's: the first of these that a case has.
    pub experts: &'a [Who],
    /// What their values mean here, where that is said: then what came with a case is taken as its
    /// file has it.
    pub relabel: Option<&'a dyn Fn(&mut LabelMap)>,
    /// Which classes their set marks wherever they are; none: those it has anywhere.
    pub marked: Option<BTreeSet<u8>>,
    /// Who corrected fused labels: the first of these that a case has.
    pub corrected: &'a [Who],
    /// How many cases get a picture, the most disputed first.
    pub pictures: usize,
}

/// Why a run ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CurateError {
    /// A file of a case, or labels.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// A result that cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A picture.
    #[error("a picture could not be encoded: {0}")]
    Picture(#[from] png::EncodingError),
    /// The engine itself, not one case.
    #[error(transparent)]
    Engine(#[from] hepalert_engines::EngineError),
    /// Nobody whose labels are to be an expert's has any here.
    #[error(
        "{who}: nobody of this name has labels in {}; `hepalert label` lists who has, and \
         `labels:NAME` names labels that came with a case", folder.display()
    )]
    NoExpert {
        /// Who was named.
        who: Who,
        /// The folder of cases.
        folder: PathBuf,
    },
    /// Somebody wanted it to end. What the engine said of the cases before is kept.
    #[error("stopped")]
    Stopped,
}

/// Hears of a run.
pub(crate) trait Listener {
    /// So many cases are through; told several times in each, and asked whether to go on.
    fn at(&mut self, case: usize, of: usize) -> ControlFlow<()>;
    /// A case is through.
    fn done(&mut self, row: &Row);
}

/// What a case has to show after an engine that labelled it.
struct Labelled<'a> {
    case: &'a Case,
    image: &'a ImageFile,
    /// A person's labels, in this program's values.
    expert: Option<(Who, Labelling)>,
    predicted: Predicted,
}

impl Labelled<'_> {
    fn fused(&self, marked: &BTreeSet<u8>) -> Result<LabelMap, CaseError> {
        let none = Labelling::empty(&self.image.grid);
        let (expert, marked) = match &self.expert {
            Some((_, expert)) => (expert.map(), marked.clone()),
            None => (none.map(), BTreeSet::new()),
        };
        Ok(fuse(expert, self.predicted.base.map(), &marked)?)
    }
}

/// Runs the engine over all cases, fuses, and lists them by disagreement, the most disputed first.
///
/// # Errors
/// [`CurateError`]; a case that the engine refuses is a row.
pub(crate) fn curate(
    plan: &Plan<'_>,
    analyzer: &mut Analyzer,
    listener: &mut dyn Listener,
) -> Result<Vec<Row>, CurateError> {
    let cases = plan.folder.cases();
    let marked = match &plan.marked {
        Some(marked) => marked.clone(),
        None => marked_anywhere(plan)?,
    };
    output::check_file(&plan.out.join(table::FILE), &[])?;
    let pipelines = analyzer.fingerprints()?;
    let mut rows = Vec::with_capacity(cases.len());
    for (at, case) in cases.iter().enumerate() {
        go_on(listener.at(at, cases.len()))?;
        let mut watch = || listener.at(at, cases.len());
        let folder = plan.out.join("engine").join(&case.id);
        let predicted = predict::predict(analyzer, &pipelines, case, &folder, &mut watch)?;
        let row = row_of(plan, case, predicted, &marked)?;
        listener.done(&row);
        rows.push(row);
    }
    go_on(listener.at(cases.len(), cases.len()))?;
    table::order(&mut rows);
    draw(plan, &marked, &mut rows)?;
    table::write(plan.out, &rows)?;
    keep_order(plan.folder, &rows)?;
    Ok(rows)
}

fn go_on(wanted: ControlFlow<()>) -> Result<(), CurateError> {
    match wanted {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(CurateError::Stopped),
    }
}

/// Whether each of these people has labels of some case: found out before an engine runs for hours.
///
/// # Errors
/// [`CurateError::NoExpert`] with the first who has none.
pub(crate) fn require_experts(folder: &Folder, experts: &[Who]) -> Result<(), CurateError> {
    for who in experts {
        let labelled = |case: &Case| match who {
            Who::Given(name) => Ok(case.labels(name).is_ok()),
            Who::Reader(reader) => is_labelled(folder, case, case.first_image(), reader),
        };
        // The first that has some, or that cannot be looked at.
        let found = folder.cases().iter().map(labelled).find(|one| !matches!(one, Ok(false)));
        if !found.unwrap_or(Ok(false))? {
            let folder = folder.root().to_owned();
            return Err(CurateError::NoExpert { who: who.clone(), folder });
        }
    }
    Ok(())
}

/// The classes that people's labels have anywhere: a set marks a class or it does not. Who marks lesions
/// of one type would have marked those of another.
fn marked_anywhere(plan: &Plan<'_>) -> Result<BTreeSet<u8>, CaseError> {
    let mut found = BTreeSet::new();
    for case in plan.folder.cases() {
        if let Some((_, expert)) = expert(plan, case, case.first_image())? {
            found.extend(expert.map().voxels().iter().copied());
        }
    }
    found.remove(&0);
    if found.iter().any(|label| is_lesion(*label)) {
        found.extend(Lesion::ALL.map(Lesion::label));
    }
    Ok(found)
}

fn expert(
    plan: &Plan<'_>,
    case: &Case,
    image: &ImageFile,
) -> Result<Option<(Who, Labelling)>, CaseError> {
    let Some(relabel) = plan.relabel else {
        let found = first_of(plan.folder, case, image, plan.experts)?;
        return Ok(found.map(|(who, labelling, _)| (who, labelling)));
    };
    let found = first_as_given(plan.folder, case, image, plan.experts)?;
    Ok(found.map(|(who, labelling, _)| {
        let mut map = labelling.stored();
        relabel(&mut map);
        (who, Labelling::new(map))
    }))
}

/// What became of a case. Whose corrections it has is looked up before its fused labels are kept.
fn row_of(
    plan: &Plan<'_>,
    case: &Case,
    predicted: Result<Predicted, Unpredicted>,
    marked: &BTreeSet<u8>,
) -> Result<Row, CurateError> {
    let image = case.first_image();
    let expert = expert(plan, case, image)?;
    let corrected = first_of(plan.folder, case, image, plan.corrected)?;
    let row = match predicted {
        Ok(predicted) => take(plan, &Labelled { case, image, expert, predicted }, marked)?,
        Err(why) => Row::without(&case.id, &why),
    };
    Ok(match corrected {
        Some((who, ..)) => Row { labels: Some(who.to_string()), is_corrected: true, ..row },
        None => row,
    })
}

/// Keeps the fused labels of a case, and judges how far machine and person are apart.
fn take(
    plan: &Plan<'_>,
    labelled: &Labelled<'_>,
    marked: &BTreeSet<u8>,
) -> Result<Row, CurateError> {
    keep(plan.folder, labelled.case, labelled.image, labelled.fused(marked)?)?;
    judge::compared(labelled, marked)
}

/// Under a name of its own, so that readers begin with it and their own is never touched.
fn keep(folder: &Folder, case: &Case, image: &ImageFile, fused: LabelMap) -> Result<(), CaseError> {
    let curated = Reader::new(CURATED)?;
    let mut editor = LabelEditor::open(folder, &case.id, &image.name, &curated, &Start::Empty)?;
    let on = editor.revision().to_owned();
    editor.take_in(fused, "curate", &on, Timestamp::now())?;
    Ok(())
}

fn keep_order(folder: &Folder, rows: &[Row]) -> Result<(), CaseError> {
    let mut order = Order::read(folder.work())?;
    for row in rows {
        match row.disagreement.filter(|_| !row.is_corrected) {
            Some(score) => order.disagreement.insert(row.case.clone(), score),
            // What somebody has corrected is read.
            None => order.disagreement.remove(&row.case),
        };
    }
    order.keep(folder.work())
}

/// Pictures of the most disputed places, from the files: only those few are read again.
fn draw(plan: &Plan<'_>, marked: &BTreeSet<u8>, rows: &mut [Row]) -> Result<(), CurateError> {
    let disputed = rows.iter_mut().filter(|row| row.largest_at.is_some() && !row.is_corrected);
    for row in disputed.take(plan.pictures) {
        let case = plan.folder.case(&row.case)?;
        let image = case.first_image();
        let engine = plan.out.join("engine").join(&case.id);
        let Ok(predicted) = predict::read_labels(&engine, image) else { continue };
        let expert = expert(plan, case, image)?.map(|(_, expert)| expert);
        let name = PathBuf::from("pictures").join(format!("{}.png", case.id));
        let to = plan.out.join(&name);
        picture::draw(&to, row, image, (expert.as_ref(), &predicted), marked)?;
        row.picture = Some(name);
    }
    Ok(())
}

/// Writes the next training set: what people corrected, and fused labels of the rest.
///
/// # Errors
/// [`CaseError`] if the folder is not free or a file is damaged; [`CurateError::Stopped`] once
/// `wanted` says so, before each case: then nothing is left of the set.
pub(crate) fn next_set(
    plan: &Plan<'_>,
    rows: &[Row],
    engine: &Value,
    out: &Path,
    wanted: &dyn Fn() -> ControlFlow<()>,
) -> Result<Written, CurateError> {
    let meaning = Meaning::house();
    let names = meaning.names();
    let mut set = DataSet::begin(out, &["ct".to_owned()], &meaning)?;
    let mut by_name: Vec<&Row> = rows.iter().collect();
    by_name.sort_by(|a, b| a.case.cmp(&b.case));
    for row in by_name {
        go_on(wanted())?;
        let case = plan.folder.case(&row.case)?;
        let image = case.first_image();
        let curated = Who::Reader(Reader::new(CURATED).map_err(CaseError::from)?);
        let whose: Vec<Who> = plan.corrected.iter().cloned().chain([curated]).collect();
        let Some((who, labels, revision)) = first_of(plan.folder, case, image, &whose)? else {
            set.leave_out(&case.id, row.message.as_deref().unwrap_or("it has no labels"));
            continue;
        };
        let expert = expert(plan, case, image)?;
        let origin = json!({
            "from": who.to_string(), "revision": revision, "engine": engine,
            "expert": expert.as_ref().map(|(who, _)| who.to_string()),
            "voxels": told_origins(&labels, expert.as_ref().map(|(_, expert)| expert), row.is_corrected, names),
        });
        set.add(&case.id, &[image], &labels.stored(), origin)?;
    }
    Ok(set.finish()?)
}

/// Voxels of each class by where they came from. What a person corrected after the fusion is that
/// person's, whether it was changed or only looked at.
fn told_origins(
    labels: &Labelling,
    expert: Option<&Labelling>,
    is_corrected: bool,
    names: &BTreeMap<u8, String>,
) -> BTreeMap<String, Value> {
    let empty = Labelling::empty(labels.map().grid());
    let expert = expert.unwrap_or(&empty);
    let second = if is_corrected { "corrected" } else { "machine" };
    let named = origins(labels.map(), expert.map()).into_iter().map(|(label, origin)| {
        let name = names.get(&label).cloned().unwrap_or_else(|| format!("label_{label}"));
        (name, json!({"expert": origin.expert, second: origin.machine}))
    });
    named.collect()
}
