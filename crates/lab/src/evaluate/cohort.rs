//! Finds the cases of a cohort and reads them one at a time.
//!
//! The truth is a folder of label maps `<case>.nii.gz`. The predictions are a folder with,
//! per case, a label map of the same name - the variant `base` alone - or a folder `<case>`
//! as `analyze` writes it: `labels_base.nii.gz`, `labels_high.nii.gz`, `lesions.nii.gz`,
//! `report.json`, and `margin.nii.gz` for a sweep. The report lists a lesion of both views
//! once, under the type it has in the base view; patient classes are the report's own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::Variant;
use super::case::CaseResult;
use super::dice::label_voxels;
use super::sweep::{SweepPoint, sweep};
use hepalert_cascade::detect::Detection;
use hepalert_cascade::detect::seg2det::{
    DetectParams, FragmentLimits, TooFragmented, seg2det_within,
};
use hepalert_study::anatomy::Lesion;
use hepalert_study::outcome::{PatientClass, View};
use hepalert_study::result::{LABELS_BASE, LABELS_HIGH, LESIONS, MARGIN, REPORT};
use hepalert_study::system;
use hepalert_voxels::volume::nifti::NiftiError;
use hepalert_voxels::volume::nifti::read::{read, read_labels};
use hepalert_voxels::volume::{LabelMap, Volume};

/// Why a cohort cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum CohortError {
    /// A file or folder.
    #[error("{}: {}", path.display(), system::reason(reason))]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// Not a volume.
    #[error("{}: {reason}", path.display())]
    Nifti {
        /// Which file.
        path: PathBuf,
        /// What the reader found.
        reason: NiftiError,
    },
    /// A label map of so many lesions that it is noise.
    #[error("{}: {reason}", path.display())]
    TooFragmented {
        /// Which file.
        path: PathBuf,
        /// How far it is in pieces.
        reason: TooFragmented,
    },
    /// Not on the grid of the truth.
    #[error("{}: lies on another grid than {}", path.display(), truth.display())]
    OtherGrid {
        /// Which file.
        path: PathBuf,
        /// The true label map.
        truth: PathBuf,
    },
    /// The report is not as `analyze` writes it.
    #[error("{}: is not a report as `analyze` writes it ({reason})", path.display())]
    Report {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no truth.
    #[error("{}: holds no label map <case>.nii.gz", .0.display())]
    NoCases(PathBuf),
    /// Cases of the truth have no prediction. To leave them out without a word would flatter.
    #[error(
        "{}: holds neither CASE.nii.gz nor a folder CASE for {} of {of} cases: {}",
        path.display(), cases.len(), cases.join(", ")
    )]
    NoPrediction {
        /// The folder of predictions.
        path: PathBuf,
        /// All of them, by name.
        cases: Vec<String>,
        /// How many cases the truth has.
        of: usize,
    },
}

impl CohortError {
    /// The reason code of the refusal.
    pub fn code(&self) -> &'static str {
        match self {
            CohortError::Unreadable { .. } => "unreadable",
            CohortError::Nifti { reason, .. } => reason.code(),
            CohortError::TooFragmented { .. } => "too_fragmented",
            CohortError::OtherGrid { .. } => "geometry_mismatch",
            CohortError::Report { .. } => "bad_report",
            CohortError::NoCases(_) => "no_cases",
            CohortError::NoPrediction { .. } => "no_prediction",
        }
    }
}

/// Where the files of one case are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseFiles {
    /// The file name without its ending.
    pub name: String,
    /// The true label map.
    pub truth: PathBuf,
    /// What was predicted.
    pub predicted: Predicted,
    /// A second folder of `analyze`, run on original patches only.
    pub no_shuffle: Option<PathBuf>,
}

/// What was predicted for a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Predicted {
    /// One label map.
    Labels(PathBuf),
    /// A folder that `analyze` wrote.
    Folder(PathBuf),
    /// Nothing: every lesion is missed.
    Nothing,
}

/// What becomes of cases without a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Missing {
    /// Nothing is counted while there are any.
    #[default]
    Refuse,
    /// They are named and not counted.
    LeaveOut,
    /// All of their lesions are missed.
    CountMissed,
}

impl Missing {
    /// In the order of strictness.
    pub const ALL: [Missing; 3] = hepalert_study::all(Missing::VARIANTS);

    /// The name used on the command line; reading it back is `parse`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The cases that are counted, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cohort {
    /// Each with its prediction.
    pub cases: Vec<CaseFiles>,
    /// Those without a prediction that are not counted.
    pub left_out: Vec<String>,
}

/// The cases of the truth by name, each with its prediction.
///
/// # Errors
/// If a folder cannot be listed, there is no case, or cases have no prediction and `missing` refuses
/// them; where no case has one, they are always refused.
pub fn find(
    truth: &Path,
    predicted: &Path,
    no_shuffle: Option<&Path>,
    missing: Missing,
) -> Result<Cohort, CohortError> {
    let truths = truths(truth)?;
    std::fs::read_dir(predicted)
        .map_err(|reason| CohortError::Unreadable { path: predicted.to_owned(), reason })?;
    let (of, mut cases, mut without) = (truths.len(), Vec::new(), Vec::new());
    for (name, truth) in truths {
        let predicted = prediction(predicted, &name);
        if predicted == Predicted::Nothing {
            without.push(name.clone());
        }
        let beside = |folder: &Path| Some(folder.join(&name)).filter(|path| path.is_dir());
        let no_shuffle = no_shuffle.and_then(beside);
        cases.push(CaseFiles { name, truth, predicted, no_shuffle });
    }
    let refuses = missing == Missing::Refuse && !without.is_empty();
    if refuses || without.len() == of {
        return Err(CohortError::NoPrediction { path: predicted.to_owned(), cases: without, of });
    }
    if missing == Missing::LeaveOut {
        cases.retain(|case| case.predicted != Predicted::Nothing);
        return Ok(Cohort { cases, left_out: without });
    }
    Ok(Cohort { cases, left_out: Vec::new() })
}

/// Leaves a case without a prediction the variants that any other case has: where nobody
/// reclassified, nothing was missed by it.
pub fn as_the_others(cases: &[CaseFiles], results: &mut [CaseResult]) {
    let is_missed = |case: &CaseFiles| case.predicted == Predicted::Nothing;
    let others = cases.iter().zip(&*results).filter(|(case, _)| !is_missed(case));
    let known: BTreeSet<Variant> =
        others.flat_map(|(_, result)| result.views.keys().copied()).collect();
    for (_, result) in cases.iter().zip(results).filter(|(case, _)| is_missed(case)) {
        result.views.retain(|variant, _| known.contains(variant));
    }
}

/// The true label maps of a folder, by case.
///
/// # Errors
/// If the folder cannot be listed or holds none.
pub fn truths(folder: &Path) -> Result<Vec<(String, PathBuf)>, CohortError> {
    let unreadable = |reason| CohortError::Unreadable { path: folder.to_owned(), reason };
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        cases.extend(case_name(&path).map(|name| (name, path)));
    }
    if cases.is_empty() {
        return Err(CohortError::NoCases(folder.to_owned()));
    }
    cases.sort();
    Ok(cases)
}

fn case_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let case = name.strip_suffix(".nii.gz").or_else(|| name.strip_suffix(".nii"))?;
    Some(case.to_owned())
}

fn prediction(folder: &Path, case: &str) -> Predicted {
    let inside = folder.join(case);
    if inside.is_dir() {
        return Predicted::Folder(inside);
    }
    let files = [".nii.gz", ".nii"].map(|ending| folder.join(format!("{case}{ending}")));
    files.into_iter().find(|path| path.is_file()).map_or(Predicted::Nothing, Predicted::Labels)
}

/// Reads and counts one case. With `highest_gain`, the gain at which `labels_high.nii.gz`
/// was read unless the report says otherwise, the gain is swept as well where there is a
/// margin.
///
/// # Errors
/// [`CohortError`] names the file.
pub fn evaluate_case(
    case: &CaseFiles,
    highest_gain: Option<f64>,
) -> Result<CaseResult, CohortError> {
    let truth_map = labels(&case.truth)?;
    let truth = lesions(&case.truth, &truth_map)?;
    let beside = Beside { truth: &truth_map, path: &case.truth };
    let mut views = BTreeMap::new();
    let mut overlap = Default::default();
    let folder = match &case.predicted {
        Predicted::Labels(path) => {
            let map = beside.labels(path)?;
            overlap = label_voxels(&truth_map, &map);
            views.insert(Variant::Base, lesions(path, &map)?);
            None
        }
        Predicted::Folder(folder) => Some(folder),
        Predicted::Nothing => {
            let own = Variant::ALL.into_iter().filter(|variant| *variant != Variant::Joint);
            views.extend(own.map(|variant| (variant, Vec::new())));
            None
        }
    };
    let mut analysis = None;
    if let Some(folder) = folder {
        let map = beside.labels(&folder.join(LABELS_BASE))?;
        overlap = label_voxels(&truth_map, &map);
        let base = lesions(&folder.join(LABELS_BASE), &map)?;
        analysis = Analysis::read(folder, &beside)?;
        if let Some(kept) = &analysis {
            let high = beside.lesions(&folder.join(LABELS_HIGH))?;
            views.insert(Variant::BaseRecls, kept.of(&base, ReportLesion::in_base));
            views.insert(Variant::HighRecls, kept.of(&high, ReportLesion::in_high));
        }
        views.insert(Variant::Base, base);
    }
    let mut without_shuffle = None;
    if let Some(folder) = &case.no_shuffle {
        without_shuffle = Analysis::read(folder, &beside)?;
        if let Some(kept) = &without_shuffle {
            let base = beside.lesions(&folder.join(LABELS_BASE))?;
            views.insert(Variant::BaseReclsNoShuffle, kept.of(&base, ReportLesion::in_base));
        }
    }
    let mut result =
        CaseResult { labels: overlap, ..CaseResult::new((&truth_map, &truth), &views) };
    // The report's own classes: a lesion of both views is listed under its base type only.
    let classes = [
        (Variant::BaseRecls, analysis.as_ref().map(|report| report.base)),
        (Variant::HighRecls, analysis.as_ref().map(|report| report.high)),
        (Variant::BaseReclsNoShuffle, without_shuffle.as_ref().map(|report| report.base)),
    ];
    for (variant, class) in classes {
        if let (Some(view), Some(class)) = (result.views.get_mut(&variant), class) {
            view.class = class;
        }
    }
    if let (Some(folder), Some(asked)) = (folder, highest_gain) {
        let highest = analysis.as_ref().and_then(|report| report.gain_high).unwrap_or(asked);
        result.sweep = swept(folder, &truth, &beside, highest)?;
    }
    Ok(result)
}

/// The points of a case; none without a margin.
fn swept(
    folder: &Path,
    truth: &[Detection],
    beside: &Beside,
    highest: f64,
) -> Result<Vec<SweepPoint>, CohortError> {
    let margin = folder.join(MARGIN);
    if !margin.is_file() {
        return Ok(Vec::new());
    }
    let path = folder.join(LABELS_HIGH);
    sweep(truth, &beside.labels(&path)?, &beside.reals(&margin)?, highest)
        .map_err(|reason| CohortError::TooFragmented { path, reason })
}

pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, CohortError> {
    std::fs::read(path).map_err(|reason| CohortError::Unreadable { path: path.to_owned(), reason })
}

fn labels(path: &Path) -> Result<LabelMap, CohortError> {
    read_labels(&bytes(path)?)
        .map_err(|reason| CohortError::Nifti { path: path.to_owned(), reason })
}

fn lesions(path: &Path, labels: &LabelMap) -> Result<Vec<Detection>, CohortError> {
    seg2det_within(labels, &DetectParams::default(), &FragmentLimits::default())
        .map_err(|reason| CohortError::TooFragmented { path: path.to_owned(), reason })
}

/// Reads what must lie on the grid of the truth.
struct Beside<'a> {
    truth: &'a LabelMap,
    path: &'a Path,
}

impl Beside<'_> {
    fn lesions(&self, path: &Path) -> Result<Vec<Detection>, CohortError> {
        lesions(path, &self.labels(path)?)
    }

    fn labels(&self, path: &Path) -> Result<LabelMap, CohortError> {
        self.checked(path, labels(path)?)
    }

    /// A volume of reals. Instance numbers up to 65535 are exact in them.
    fn reals(&self, path: &Path) -> Result<Volume<f32>, CohortError> {
        let volume = read(&bytes(path)?)
            .map_err(|reason| CohortError::Nifti { path: path.to_owned(), reason })?;
        self.checked(path, volume)
    }

    fn checked<T>(&self, path: &Path, volume: Volume<T>) -> Result<Volume<T>, CohortError> {
        if volume.grid().matches(self.truth.grid()) {
            return Ok(volume);
        }
        Err(CohortError::OtherGrid { path: path.to_owned(), truth: self.path.to_owned() })
    }
}

/// What is read of `report.json`; other fields are not.
#[derive(Debug, Deserialize)]
struct Report {
    lesions: Vec<ReportLesion>,
    patient_class: ReportClasses,
    pipeline: Option<ReportPipeline>,
}

/// A lesion that reclassification kept.
#[derive(Debug, Deserialize)]
struct ReportLesion {
    id: u32,
    /// The type after reclassification.
    class: Lesion,
    view: View,
}

/// The patient's class in both views.
#[derive(Debug, Deserialize)]
struct ReportClasses {
    base: PatientClass,
    high: PatientClass,
}

#[derive(Debug, Deserialize)]
struct ReportPipeline {
    lesion_gain: Option<ReportGains>,
}

#[derive(Debug, Deserialize)]
struct ReportGains {
    high: f64,
}

impl ReportLesion {
    fn in_base(&self) -> bool {
        self.view != View::High
    }

    fn in_high(&self) -> bool {
        self.view != View::Base
    }
}

/// What `analyze` made of a case: the lesions that were kept, and where they are.
struct Analysis {
    lesions: BTreeMap<u32, (Lesion, ReportLesion)>,
    instances: Volume<f32>,
    base: PatientClass,
    high: PatientClass,
    gain_high: Option<f64>,
}

impl Analysis {
    /// None if the folder has no report: then there was no reclassification.
    fn read(folder: &Path, beside: &Beside) -> Result<Option<Analysis>, CohortError> {
        let path = folder.join(REPORT);
        if !path.is_file() {
            return Ok(None);
        }
        let refused = |reason| CohortError::Report { path: path.clone(), reason };
        let report: Report =
            serde_json::from_slice(&bytes(&path)?).map_err(|error| refused(error.to_string()))?;
        let ReportClasses { base, high } = report.patient_class;
        let mut lesions = BTreeMap::new();
        for lesion in report.lesions {
            lesions.insert(lesion.id, (lesion.class, lesion));
        }
        let instances = beside.reals(&folder.join(LESIONS))?;
        let gain_high = report.pipeline.and_then(|pipeline| pipeline.lesion_gain);
        let gain_high = gain_high.map(|gains| gains.high);
        Ok(Some(Analysis { lesions, instances, base, high, gain_high }))
    }

    /// The detections that were kept in a view, with their types after reclassification: each
    /// is the reported lesion it shares most voxels with.
    fn of(&self, found: &[Detection], wanted: impl Fn(&ReportLesion) -> bool) -> Vec<Detection> {
        let mut kept = Vec::new();
        for detection in found {
            let mut shared: BTreeMap<u32, usize> = BTreeMap::new();
            for ([z, y], columns) in detection.runs() {
                for x in columns {
                    *shared.entry(self.instances.voxels()[[z, y, x]] as u32).or_default() += 1;
                }
            }
            let reported = shared.iter().filter_map(|(id, voxels)| {
                let (kind, _) = self.lesions.get(id).filter(|(_, lesion)| wanted(lesion))?;
                Some((*voxels, *kind))
            });
            if let Some((_, kind)) = reported.max_by_key(|(voxels, _)| *voxels) {
                kept.push(Detection { kind, ..detection.clone() });
            }
        }
        kept
    }
}
