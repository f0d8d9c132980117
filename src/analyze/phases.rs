//! Reads the phases of a study and checks them by what they show.
//!
//! Owns what happens where images and names differ. A DICOM study is decided among its series;
//! what a person names on the command line is checked and warned of; what a file's name says is
//! refused where the images leave no room for it.

use std::path::{Path, PathBuf};

use super::Settings;
use crate::intake::decide::{Checked, SeriesLine, check_named, decide, described};
use crate::intake::load::{self, Loaded};
use crate::intake::{Confidence, GateParams, PhaseSource, Refusal, RefusalCode, StudyFiles};
use crate::report::record;
use crate::report::types::{PhaseRecord, SeriesRecord};
use hepalert_bundles::MANIFEST;
use hepalert_engines::EngineError;
use hepalert_phases::Recogniser;
use hepalert_phases::joint::STRONG;
use hepalert_study::study::Phase;

/// Below this a name of a file is not believed against its images.
const NOT_BELIEVED: f64 = 0.2;

/// A study as it was read.
pub struct Read {
    /// Volumes and how their phases were found.
    pub loaded: Loaded,
    /// What became of every series.
    pub series: Vec<SeriesLine>,
    /// Per phase, what its images show.
    pub images: Vec<Option<String>>,
    /// Images speak against a name that was believed.
    pub contradicted: bool,
}

impl Settings {
    /// The recogniser of these settings, if its bundle is there.
    ///
    /// # Errors
    /// [`EngineError`] if it is there and cannot be used.
    pub fn recogniser(&self) -> Result<Option<Recogniser>, EngineError> {
        let there = |dir: &&PathBuf| dir.join(MANIFEST).is_file();
        let dir = self.phase_bundle.as_ref().filter(there);
        dir.map(|dir| Recogniser::open(dir, &self.runtime)).transpose()
    }
}

/// The bundle that tells phases apart, beside an engine's or installed; `None` if there is none.
pub fn beside(engine: &Path) -> Option<PathBuf> {
    let places = [
        engine.parent().unwrap_or(Path::new("")).join("ct-phase"),
        PathBuf::from("/usr/share/hepalert/engines/ct-phase"),
    ];
    places.into_iter().find(|place| place.join(MANIFEST).is_file())
}

/// What looking at a study's series brought.
#[derive(Debug, Default)]
pub struct Found {
    /// What became of every series; none of a study that is no choice among series.
    pub series: Vec<SeriesLine>,
    /// Why the engine's phases are not all there.
    pub refusal: Option<Refusal>,
}

/// Decides a study among its series: every phase that can be told.
pub fn found(
    files: &StudyFiles,
    expected: &[Phase],
    gate: &GateParams,
    recogniser: Option<&mut Recogniser>,
) -> (StudyFiles, Found) {
    if files.candidates.is_empty() {
        return (files.clone(), Found::default());
    }
    let decided = decide(files, expected, gate, recogniser);
    (decided.told, Found { series: decided.series, refusal: decided.refusal })
}

/// Reads the phases, and checks those that were not decided among series.
///
/// # Errors
/// [`Refusal`] of a phase that cannot be read, or that is another by its images.
pub fn read(
    files: &StudyFiles,
    found: &Found,
    expected: &[Phase],
    gate: &GateParams,
    mut recogniser: Option<&mut Recogniser>,
) -> Result<Read, Refusal> {
    let mut loaded = load::load(files, expected, gate)?;
    if !files.candidates.is_empty() {
        let seen = |phase: &Phase| {
            let line = found.series.iter().find(|line| line.chosen == Some(*phase))?;
            line.seen.as_ref().map(described)
        };
        let images = loaded.phases.iter().map(|phase| seen(&phase.phase)).collect();
        // Decided by the images: nothing that was believed is contradicted.
        return Ok(Read { loaded, series: found.series.clone(), images, contradicted: false });
    }
    let mut images = Vec::new();
    let mut contradicted = false;
    let count = files.files().count();
    for phase in &mut loaded.phases {
        let weight = if phase.source == PhaseSource::OnlySeries { 1.0 } else { STRONG };
        let volume = loaded.study.phases.get(&phase.phase);
        let checked = volume
            .zip(recogniser.as_deref_mut())
            .and_then(|(volume, recogniser)| check_named(volume, phase.phase, weight, recogniser));
        images.push(checked.as_ref().map(|checked| described(&checked.seen)));
        let Some(checked) = checked else { continue };
        contradicted |= checked.contradicts;
        if phase.source == PhaseSource::Given {
            continue;
        }
        (phase.source, phase.confidence) = believed(phase.source, &checked).ok_or_else(|| {
            Refusal::new(RefusalCode::MissingPhase, against(phase.phase, &checked), count)
        })?;
    }
    Ok(Read { loaded, series: Vec::new(), images, contradicted })
}

/// How sure a phase is that a file's name says, or that was the only file; `None` if it is not.
fn believed(source: PhaseSource, checked: &Checked) -> Option<(PhaseSource, Confidence)> {
    let confidence = match checked.probability {
        p if p < NOT_BELIEVED => return None,
        p if p < 0.7 => Confidence::Low,
        p if p < 0.9 => Confidence::Medium,
        _ => Confidence::High,
    };
    let source = match source {
        PhaseSource::FileName if !checked.contradicts => PhaseSource::NamesAndImages,
        PhaseSource::OnlySeries => PhaseSource::Images,
        source => source,
    };
    Some((source, confidence))
}

fn against(phase: Phase, checked: &Checked) -> String {
    format!("not {phase}: {}", described(&checked.seen))
}

impl Read {
    /// What the report says of every phase.
    pub fn phase_records(&self) -> Vec<PhaseRecord> {
        let pairs = self.loaded.phases.iter().zip(&self.images);
        pairs
            .map(|(phase, images)| PhaseRecord {
                phase: phase.phase,
                source: phase.source,
                confidence: phase.confidence,
                images: images.clone(),
                alignment: None,
            })
            .collect()
    }
}

/// A series as the report tells it.
pub fn record(line: &SeriesLine) -> SeriesRecord {
    let best = line.seen.as_ref().filter(|seen| seen.has_evidence()).map(|seen| seen.best());
    SeriesRecord {
        series_number: line.scan.recon.series_number,
        acquisition: line.acquisition,
        slices: line.scan.slices,
        thickness_mm: line.scan.recon.thickness_mm,
        phase: line.phase.map_or("none", Phase::code).to_owned(),
        probability: record::rounded(line.probability),
        images: best.map(|(look, _)| look.name().to_owned()),
        images_probability: best.map(|(_, p)| record::rounded(p)),
        chosen: line.chosen.map(|phase| phase.code().to_owned()),
        why: line.why.clone(),
    }
}
