//! Reads the phases of a study and checks them by what they show.
//!
//! Owns what happens where images and names differ. A DICOM study is decided among its series;
//! what a person names on the command line is checked and warned of; what a file's name says is
//! refused where the images leave no room for it.

use std::path::{Path, PathBuf};

use super::Settings;
use crate::intake::reading::load::{self, Loaded, LoadedPhase};
use crate::intake::study::decide::decide;
use crate::intake::study::decided::{SeriesLine, described};
use crate::intake::study::named_phases::{self, contradicts};
use crate::intake::{GateParams, Refusal, StudyFiles};
use crate::report::record;
use crate::report::types::{PhaseRecord, SeriesRecord};
use hepalert_bundles::MANIFEST;
use hepalert_engines::EngineError;
use hepalert_phases::Recogniser;
use hepalert_study::phase::Phase;

/// A study as it was read.
pub(super) struct Read {
    /// Volumes and how their phases were found.
    pub loaded: Loaded,
    /// What became of every series.
    pub series: Vec<SeriesLine>,
    /// Per phase, what its images show.
    pub images: Vec<Option<String>>,
    /// Images speak against the phase that a series is read as.
    pub contradicted: bool,
}

impl Settings {
    /// The recogniser of these settings, if its bundle is there.
    ///
    /// # Errors
    /// [`EngineError`] if it is there and cannot be used.
    pub fn recogniser(&self) -> Result<Option<Recogniser>, EngineError> {
        let dir = self.phase_bundle.as_ref();
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
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// What became of every series that was looked at; none of a study that is no choice among series.
    pub series: Vec<SeriesLine>,
    /// Why the engine's phases are not all there.
    pub refusal: Option<Refusal>,
    /// Why the series that come first are not read, where it is their size.
    pub too_large: Option<Refusal>,
}

/// Decides a study among its series: every phase that can be told.
pub(super) fn found(
    files: &StudyFiles,
    expected: &[Phase],
    gate: &GateParams,
    recogniser: Option<&mut Recogniser>,
) -> (StudyFiles, Found) {
    if files.candidates.is_empty() {
        return (files.clone(), Found::default());
    }
    let decided = decide(files, expected, gate, recogniser);
    let found = Found { series: decided.series, refusal: decided.refusal, too_large: None };
    (decided.told, found)
}

/// Reads the phases, and checks those that were not decided among series.
///
/// # Errors
/// [`Refusal`] of a phase that cannot be read, or that is another by its images.
pub(super) fn read(
    files: &StudyFiles,
    found: &Found,
    expected: &[Phase],
    gate: &GateParams,
    mut recogniser: Option<&mut Recogniser>,
) -> Result<Read, Refusal> {
    let mut loaded = load::load(files, expected, gate)?;
    if !files.candidates.is_empty() {
        let series = as_read(files, found, &loaded);
        let seen = |phase: &LoadedPhase| {
            let line = series.iter().find(|line| line.chosen == Some(phase.files.phase))?;
            line.seen.as_ref().map(described)
        };
        let images = loaded.phases.iter().map(seen).collect();
        // Names, times and that there is no other series may outweigh the images: this is told.
        let contradicted = series.iter().any(|line| {
            line.chosen
                .zip(line.seen.as_ref())
                .is_some_and(|(phase, seen)| contradicts(seen, phase))
        });
        return Ok(Read { loaded, series, images, contradicted });
    }
    let mut images = Vec::new();
    let mut contradicted = false;
    let count = files.files().count();
    for LoadedPhase { files, .. } in &mut loaded.phases {
        let volume = loaded.study.phases.get(&files.phase);
        let checked = volume
            .zip(recogniser.as_deref_mut())
            .and_then(|(volume, recogniser)| named_phases::check(volume, files, recogniser));
        images.push(checked.as_ref().map(|checked| described(&checked.seen)));
        let Some(checked) = checked else { continue };
        contradicted |= checked.contradicts;
        let believed = checked.believed(files.source);
        (files.source, files.confidence) =
            believed.map_err(|refusal| Refusal { file_count: count, ..refusal })?;
    }
    Ok(Read { loaded, series: Vec::new(), images, contradicted })
}

/// The lines of the series, where another was read than was chosen, or another engine reads.
fn as_read(files: &StudyFiles, found: &Found, loaded: &Loaded) -> Vec<SeriesLine> {
    let mut series = found.series.clone();
    for line in &mut series {
        let is_read = |phase| loaded.phases.iter().any(|read| read.files.phase == phase);
        if let Some(phase) = line.chosen.take_if(|phase| !is_read(*phase)) {
            line.outcome =
                format!("not read: the engine that took the study has no use for {phase}");
        }
    }
    for LoadedPhase { files: read, passed_by, .. } in &loaded.phases {
        let is_read = |line: &SeriesLine| {
            let found = files.series(line.at);
            found.files == read.files && found.pick == read.pick
        };
        let chosen = series.iter().position(|line| line.chosen == Some(read.phase));
        let Some(other) = series.iter().position(is_read) else { continue };
        let Some(chosen) = chosen else {
            // The first engine chose none: this one takes what could be told.
            series[other].chosen = Some(read.phase);
            series[other].outcome = format!("read as {}", read.phase);
            continue;
        };
        if let Ok([chosen, other]) = series.get_disjoint_mut([chosen, other]) {
            let passed_by = passed_by.as_ref().or(found.too_large.as_ref());
            let reason = passed_by.map_or_else(String::new, ToString::to_string);
            chosen.give_way(other, &reason);
        }
    }
    series
}

impl Read {
    /// What the report says of every phase.
    pub(super) fn phase_records(&self) -> Vec<PhaseRecord> {
        let pairs = self.loaded.phases.iter().zip(&self.images);
        pairs
            .map(|(phase, images)| PhaseRecord {
                phase: phase.files.phase,
                source: phase.files.source,
                confidence: phase.files.confidence,
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
        place: Some(line.at),
        series_number: line.scan.recon.series_number,
        acquisition: line.acquisition,
        slices: line.scan.slices,
        thickness_mm: line.scan.recon.thickness_mm,
        phase: line.phase,
        probability: record::rounded(line.probability),
        images: best.map(|(look, _)| look.name().to_owned()),
        images_probability: best.map(|(_, p)| record::rounded(p)),
        chosen: line.chosen,
        why: line.why(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::intake::facts::Candidate;
    use crate::intake::study::phases::Scan;
    use crate::intake::{Confidence, Format, PhaseFiles, PhaseSource, RefusalCode};
    use hepalert_study::study::{Study, StudyKey};

    fn series(name: &str) -> PhaseFiles {
        PhaseFiles {
            phase: Phase::Vp,
            source: PhaseSource::Images,
            confidence: Confidence::High,
            format: Format::Dicom,
            files: vec![name.into()],
            contents: Vec::new(),
            is_second: false,
            others: Vec::new(),
            pick: Default::default(),
        }
    }

    fn scan() -> Scan {
        Scan { slices: 1, ..Scan::default() }
    }

    #[test]
    fn the_series_that_was_read_is_told_as_read_and_the_first_says_why_not() {
        let key = StudyKey::new("0123456789abcdef0123456789abcdef").unwrap();
        let names = ["thin", "thick"];
        let candidates: Vec<Candidate> =
            names.iter().map(|name| Candidate { scan: scan(), files: series(name) }).collect();
        let files = StudyFiles {
            key: key.clone(),
            revision: 1,
            fingerprint: hepalert_study::digest::Digest::of(b""),
            phases: vec![PhaseFiles { others: vec![series("thick")], ..series("thin") }],
            candidates,
            acquired: None,
            unused: 0,
            unreadable_beside: 0,
            patient: None,
            series: Vec::new(),
            prior: None,
            seen: Vec::new(),
        };
        let line = |at: usize, chosen| SeriesLine {
            at,
            scan: scan(),
            acquisition: 1,
            seen: None,
            phase: Some(Phase::Vp),
            probability: 1.0,
            chosen,
            outcome: "as decided".to_owned(),
            signs: Vec::new(),
        };
        let lines = vec![line(0, Some(Phase::Vp)), line(1, None)];
        let found = Found { series: lines, ..Found::default() };
        let told = |name: &str, passed_by: Option<Refusal>, found: &Found| {
            let study = Study { key: key.clone(), phases: BTreeMap::new() };
            let phase = LoadedPhase {
                files: series(name),
                passed_by,
                slices: 1,
                spacing_mm: [5.0, 1.0, 1.0],
                kvp: None,
                side_uncertain: false,
                quality: Vec::new(),
                slice_names: Vec::new(),
            };
            let series = as_read(&files, found, &Loaded { study, phases: vec![phase] });
            series.iter().map(|line| (line.chosen, line.outcome.clone())).collect::<Vec<_>>()
        };
        let as_decided = "as decided".to_owned();
        let first = [(Some(Phase::Vp), as_decided.clone()), (None, as_decided)];
        assert_eq!(told("thin", None, &found), first);
        let cut = Refusal::new(RefusalCode::MissingSlices, "3 are missing", 40);
        let second = told("thick", Some(cut.clone()), &found);
        assert_eq!((second[0].0, second[1].0), (None, Some(Phase::Vp)));
        assert!(second[0].1.contains("3 are missing"), "{second:?}");
        // Another engine than the one that looked first takes what could be told.
        let none = Found { series: vec![line(0, None), line(1, None)], ..Found::default() };
        assert_eq!(told("thin", None, &none)[0], (Some(Phase::Vp), "read as vp".to_owned()));
        // And has no use for what that one would have read.
        let four =
            Found { series: vec![line(0, Some(Phase::Vp)), line(1, Some(Phase::Ap))], ..none };
        let other = &told("thin", None, &four)[1];
        assert_eq!(other.0, None);
        assert!(other.1.contains("no use for ap"), "{other:?}");
        let large = Found { too_large: Some(cut), ..found.clone() };
        assert_eq!(told("thick", None, &large), second);
    }
}
