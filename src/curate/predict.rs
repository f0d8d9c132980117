//! What the engine says of a case: its report, made once, and its labels read from there.
//!
//! Owns the way from a case's files to the analysis and back to two label maps.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::CurateError;
use crate::analyze::{AnalyzeError, Analyzer};
use crate::intake::{StudyFiles, files_of_paths, study_key};
use crate::report::output::{self, report_of};
use crate::report::views::{self, Views, ViewsError};
use hepalert_labels::cases::{Case, CaseError, ImageFile};
use hepalert_labels::labelling::Labelling;
use hepalert_study::phase::Phase;
use hepalert_voxels::volume::LabelMap;

/// An engine's labels of a case, on its first image, in RAS order.
#[derive(Debug)]
pub(crate) struct Predicted {
    /// The base view, its lesions as the second network left them.
    pub base: Labelling,
    /// The high-sensitivity view, the same way.
    pub high: Labelling,
}

/// Why a case has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unpredicted {
    /// The reason code.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether the input was refused, rather than the work failed.
    pub is_refused: bool,
}

fn refused(code: &str, message: String) -> Unpredicted {
    Unpredicted { code: code.to_owned(), message, is_refused: true }
}

/// Runs the engine, unless its report of these files by this pipeline is there.
pub(super) fn predict(
    analyzer: &mut Analyzer,
    pipelines: &[String],
    case: &Case,
    folder: &Path,
    watch: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Result<Predicted, Unpredicted>, CurateError> {
    let phases = match phases(case, analyzer.phases()) {
        Ok(phases) => phases,
        Err(why) => return Ok(Err(why)),
    };
    let key = study_key(b"curate", &case.id);
    let files = match files_of_paths(&key, &phases) {
        Ok(files) => files,
        Err(refusal) => return Ok(Err(refused(refusal.code.as_str(), refusal.detail))),
    };
    if !is_done(folder, &files, pipelines) {
        output::check_folder(folder, &[])?;
        let mut step = |_: &str, _: usize, _: usize| watch();
        if let Err(error) = analyzer.study(&files, folder, &mut step) {
            return unpredicted(error).map(Err);
        }
    }
    match read_labels(folder, case.first_image()) {
        Ok(predicted) => Ok(Ok(predicted)),
        Err(CaseError::Refused(refusal)) => {
            Ok(Err(refused(refusal.code(), format!("the engine's labels: {refusal}"))))
        }
        Err(other) => Err(other.into()),
    }
}

/// What an engine makes of one case, for who asks for its labels alone; its report goes into `folder`.
///
/// # Errors
/// A sentence: what is refused, or what failed.
pub(crate) fn infer(
    analyzer: &mut Analyzer,
    case: &Case,
    folder: &Path,
) -> Result<LabelMap, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let pipelines = analyzer.fingerprints().map_err(|error| said(&error))?;
    let predicted = predict(analyzer, &pipelines, case, folder, &mut || ControlFlow::Continue(()));
    let predicted = predicted.map_err(|error| said(&error))?.map_err(|why| why.message)?;
    Ok(predicted.base.stored())
}

/// The files of the engine's phases: by their names, or the one image there is.
fn phases(case: &Case, wanted: &[Phase]) -> Result<Vec<(Phase, PathBuf)>, Unpredicted> {
    let named = |phase: Phase| case.images.iter().find(|image| image.phase == Some(phase));
    let of = |image: &ImageFile| image.place().to_owned();
    if let [phase] = wanted {
        let image = named(*phase).unwrap_or_else(|| case.first_image());
        if image.phase.is_none_or(|own| own == *phase) {
            return Ok(vec![(*phase, of(image))]);
        }
    }
    // Channels of nnU-Net come in the order of phases.
    let are_channels = case.images.iter().all(|image| image.phase.is_none());
    if are_channels && case.images.len() == wanted.len() {
        return Ok(wanted.iter().copied().zip(case.images.iter().map(of)).collect());
    }
    wanted
        .iter()
        .map(|phase| {
            let missing = || {
                refused(
                    "missing_phase",
                    format!("the engine reads phase {phase}, and the case has none"),
                )
            };
            named(*phase).map(|image| (*phase, of(image))).ok_or_else(missing)
        })
        .collect()
}

fn is_done(folder: &Path, files: &StudyFiles, pipelines: &[String]) -> bool {
    report_of(folder).is_some_and(|report| report.is_of(files.fingerprint, pipelines))
}

/// One case that cannot be read is a row; an engine or a disk that fails is the end.
fn unpredicted(error: AnalyzeError) -> Result<Unpredicted, CurateError> {
    let message = error.to_string();
    let code = match error {
        AnalyzeError::Refused(refusal) => refusal.code.as_str(),
        AnalyzeError::Align(error) => error.code(),
        AnalyzeError::Engine(error) => return Err(error.into()),
        AnalyzeError::Write(crate::report::files::WriteError::Output(error)) => {
            return Err(error.into());
        }
        AnalyzeError::Stopped => return Err(CurateError::Stopped),
        AnalyzeError::Pipeline(_) | AnalyzeError::Write(_) => {
            return Ok(Unpredicted { code: "failed".to_owned(), message, is_refused: false });
        }
    };
    Ok(refused(code, message))
}

/// The labels of a report that is there.
pub(super) fn read_labels(folder: &Path, image: &ImageFile) -> Result<Predicted, CaseError> {
    let Views { base, high } = views::read(folder).map_err(|error| match error {
        ViewsError::NoReport(path) => {
            CaseError::Unknown { what: "report", name: path.display().to_string() }
        }
        ViewsError::File { path, reason } => CaseError::File { path, reason },
        ViewsError::Nifti { path, reason } => CaseError::Nifti { path, reason },
    })?;
    let base = Labelling::on(&image.grid, base)?;
    Ok(Predicted { base, high: Labelling::on(&image.grid, high)? })
}
