//! The images of a study, found again and read: by the files that were accepted, in the order in
//! which browsers take them.
//!
//! Owns which series is which phase: what the report says was read. Nothing is guessed, and files
//! that are no longer what was accepted are refused.

use std::path::PathBuf;

use super::page_state::PageState;
use super::problem::Problem;
use super::study::report;
use crate::intake::{GateParams, PhaseFiles, Refusal, RefusalCode, StudyFiles, load};
use crate::report::types::{Report, SeriesRecord};
use hepalert_study::alignment::AlignmentMethod;
use hepalert_study::phase::Phase;
use hepalert_study::study::StudyKey;
use hepalert_voxels::volume::{Axes, LabelMap, Volume, nifti};

/// Largest file of a result that is read.
const MAX_BYTES: u64 = 1 << 30;

/// InstanceNumber by slice, where it is known.
pub(super) type Numbers = Vec<Option<i64>>;

/// Images of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Images {
    /// Those that were read as this phase.
    Phase(Phase),
    /// A series by its place, read or not.
    Series(usize),
}

impl Images {
    /// As it stands in addresses: `vp`, `series-3`.
    pub(super) fn name(self) -> String {
        match self {
            Images::Phase(phase) => phase.code().to_owned(),
            Images::Series(place) => format!("series-{place}"),
        }
    }

    /// Of such a name.
    pub(super) fn parse(name: &str) -> Option<Images> {
        let series = name.strip_prefix("series-").map(|place| place.parse().map(Images::Series));
        let found = match series {
            Some(series) => series.ok(),
            None => Phase::from_code(name).map(Images::Phase),
        };
        // One name for each: what is kept is called by it.
        found.filter(|images| images.name() == name)
    }
}

/// One revision of a study, with its report.
pub(super) struct Reading {
    /// The study.
    pub key: StudyKey,
    /// The revision.
    pub revision: u32,
    /// Its report.
    pub report: Report,
    /// Its files.
    files: StudyFiles,
    /// Folder of its result.
    folder: PathBuf,
}

impl Reading {
    /// Finds it in the store.
    ///
    /// # Errors
    /// [`Problem`] if there is no report, or the names of its files were removed.
    pub(super) fn open(site: &PageState, key: StudyKey, revision: u32) -> Result<Reading, Problem> {
        let report = report(site, &key, revision)?;
        let jobs = site.reader()?.jobs_of(&key)?;
        let job = jobs.into_iter().find(|job| job.revision == revision);
        let job = job.ok_or_else(|| Problem::not_found("revision"))?;
        let files = serde_json::from_str(&job.files_json).map_err(|_| gone())?;
        let folder = site.config.store.result(key.as_str(), revision);
        Ok(Reading { key, revision, report, files, folder })
    }

    /// The phase whose grid the report's masks lie on.
    pub(super) fn reference(&self) -> Option<Phase> {
        let is_fixed = |record: &&crate::report::types::PhaseRecord| {
            record
                .alignment
                .as_ref()
                .is_some_and(|found| found.method == AlignmentMethod::Reference)
        };
        let fixed = self.report.phases.iter().find(is_fixed);
        fixed.or(self.report.phases.first()).map(|record| record.phase)
    }

    fn files_of(&self, phase: Phase) -> Option<PhaseFiles> {
        if self.files.candidates.is_empty() {
            return self.files.phases.iter().find(|files| files.phase == phase).cloned();
        }
        let series = &self.report.series;
        let is_chosen = |line: &&SeriesRecord| line.chosen == Some(phase);
        // Reports of before do not say it of a study that another engine read: then of the only series.
        let only = || series.first().filter(|line| series.len() == 1 && line.chosen.is_none());
        let chosen = series.iter().find(is_chosen).or_else(only)?;
        let by_header = || {
            let same = |scan: &hepalert_study::series::Scan| {
                scan.recon.series_number == chosen.series_number && scan.slices == chosen.slices
            };
            self.files.candidates.iter().position(|candidate| same(&candidate.scan))
        };
        let at = chosen.place.or_else(by_header)?;
        let files = self.files.candidates.get(at)?.files.clone();
        Some(PhaseFiles { phase, ..files })
    }

    /// Series that may be a phase and were not read, and whose files are known: their places and lines.
    pub(super) fn not_read(&self) -> impl Iterator<Item = (usize, &SeriesRecord)> {
        let known = self.files.candidates.len();
        let not_read = self.report.series.iter().filter(|line| line.chosen.is_none());
        // Of a report of before, a series without a place may be the one that was read.
        let named = not_read.filter_map(|line| Some((line.place?, line)));
        named.filter(move |(place, _)| *place < known)
    }

    /// Files of the study that are no part of a phase and are not known any more.
    pub(super) fn set_aside(&self) -> usize {
        if self.files.candidates.is_empty() { self.files.unused } else { 0 }
    }

    fn files_by(&self, images: Images) -> Option<PhaseFiles> {
        match images {
            Images::Phase(phase) => self.files_of(phase),
            Images::Series(at) => self.files.candidates.get(at).map(|one| one.files.clone()),
        }
    }

    /// A CT in RAS order, and InstanceNumber of each of its slices from the feet; no
    /// numbers where they are not known, or slices were averaged or stored along another axis.
    ///
    /// # Errors
    /// [`Problem`] if its files are gone or changed.
    pub(super) fn image(&self, images: Images) -> Result<(Volume<f32>, Numbers), Problem> {
        let files = self.files_by(images).ok_or_else(gone)?;
        let phase = files.phase;
        let study =
            StudyFiles { phases: vec![files], candidates: Vec::new(), ..self.files.clone() };
        // It has passed the gate already: what may have been changed since is no reason now.
        let gate =
            GateParams { kvp: [0.0, f64::MAX], min_coverage_mm: 0.0, ..GateParams::default() };
        let mut loaded = load(&study, &[phase], &gate).map_err(|refusal| match refusal.code {
            RefusalCode::FilesChanged | RefusalCode::Unreadable => gone(),
            // What was never read has not passed the gate.
            _ if matches!(images, Images::Series(_)) => unfit(&refusal),
            _ => Problem::fault(refusal),
        })?;
        let volume = loaded.study.phases.remove(&phase).ok_or_else(gone)?;
        let axes = Axes::ras(volume.grid());
        let names = loaded.phases.first().map_or(&[][..], |phase| &phase.slice_names);
        let numbers = names.iter().map(|name| name.instance_number).collect();
        Ok((axes.turn_volume(volume), axes.turn_slices(numbers)))
    }

    /// A file of the result.
    fn result(&self, name: &str) -> Result<Vec<u8>, Problem> {
        use std::io::Read;
        if !self.report.artefacts.iter().any(|artefact| artefact.path == name) {
            return Err(Problem::not_found("file"));
        }
        let file = std::fs::File::open(self.folder.join(name));
        let mut bytes = Vec::new();
        let file = file.map_err(|_| Problem::not_found("file"))?;
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(Problem::fault)?;
        Ok(bytes)
    }

    /// A label map of the result, in RAS order.
    ///
    /// # Errors
    /// [`Problem`] if it is gone.
    pub(super) fn labels(&self, name: &str) -> Result<LabelMap, Problem> {
        let labels = nifti::read::read_labels(&self.result(name)?).map_err(Problem::fault)?;
        Ok(Axes::ras(labels.grid()).turn_volume(labels))
    }

    /// A map of whole numbers of the result, in RAS order.
    ///
    /// # Errors
    /// [`Problem`] if it is gone.
    pub(super) fn numbers(&self, name: &str) -> Result<Volume<f32>, Problem> {
        let numbers = nifti::read::read(&self.result(name)?).map_err(Problem::fault)?;
        Ok(Axes::ras(numbers.grid()).turn_volume(numbers))
    }

    /// Whether the result has a file.
    pub(super) fn has(&self, name: &str) -> bool {
        self.report.artefacts.iter().any(|artefact| artefact.path == name)
    }
}

fn unfit(refusal: &Refusal) -> Problem {
    let message = format!("this series cannot be shown: {}", refusal.detail);
    let next = "look at it in the archive's viewer";
    let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(status, refusal.code.as_str(), message, next)
}

fn gone() -> Problem {
    let next = "export the series again into the folder it came from: it is known again by its \
                content";
    let message = "the images are no longer in the export folder";
    Problem::new(axum::http::StatusCode::GONE, "images_gone", message, next)
}
