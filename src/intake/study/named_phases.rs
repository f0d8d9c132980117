//! Phases that the name of a file or a person says, checked by what the images show.
//!
//! Owns how far such a name is believed. Refuses to choose among series: there is one for every
//! name.

use hepalert_phases::joint::{Acquisition, STRONG, weigh};
use hepalert_phases::{Recogniser, Seen};

use super::decided::{CONTRADICTS, Decided, LOOK_MM, SHOWS_ANOTHER, SeriesLine, described};
use super::phases::{Confidence, PhaseSource, Scan, confidence};
use crate::intake::facts::{PhaseFiles, StudyFiles};
use crate::intake::reading::gate::{GateParams, Refusal};
use crate::intake::reading::thinned::thinned;
use crate::intake::refusal_codes::RefusalCode;
use hepalert_study::phase::Phase;
use hepalert_voxels::volume::Volume;

/// Below this a name of a file is not believed against its images.
const NOT_BELIEVED: f64 = 0.2;

/// What a volume shows that a name or a person says is a phase.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checked {
    /// The phase that is named.
    pub phase: Phase,
    /// What the images show.
    pub seen: Seen,
    /// Of the phase, its name weighed in.
    pub probability: f64,
    /// The images speak against the name.
    pub contradicts: bool,
}

/// Looks at a volume that is named as a phase; `None` where it shows nothing to tell phases by.
pub(crate) fn check(
    volume: &Volume<f32>,
    named: &PhaseFiles,
    by: &mut Recogniser,
) -> Option<Checked> {
    let seen = by.look(volume).ok().filter(Seen::has_evidence)?;
    let phase = named.phase;
    // That there was no other file says nothing.
    let weight = if named.source == PhaseSource::OnlySeries { 1.0 } else { STRONG };
    let images = seen.phases();
    let alone = Acquisition {
        images: Some(images),
        named: vec![(phase, weight)],
        enhanced: 1.0,
        ..Acquisition::default()
    };
    let probability = weigh(&[alone])[0][phase as usize];
    let contradicts = contradicts(&seen, phase);
    Some(Checked { phase, seen, probability, contradicts })
}

/// Whether a series' images speak against the phase that it is read as.
pub(crate) fn contradicts(seen: &Seen, phase: Phase) -> bool {
    let seen_as = seen.phases();
    let another = (0..seen_as.len()).any(|at| at != phase as usize && seen_as[at] > SHOWS_ANOTHER);
    seen.has_evidence() && (another || seen_as[phase as usize] < CONTRADICTS)
}

impl Checked {
    /// How sure the phase is, and by what; the refusal if it is not believed. What a person says
    /// is read.
    ///
    /// # Errors
    /// [`RefusalCode::MissingPhase`] where images leave the name no room.
    pub(crate) fn believed(
        &self,
        source: PhaseSource,
    ) -> Result<(PhaseSource, Confidence), Refusal> {
        if source == PhaseSource::Given {
            return Ok((source, Confidence::High));
        }
        if self.probability < NOT_BELIEVED {
            let detail = format!("not {}: {}", self.phase, described(&self.seen));
            return Err(Refusal::new(RefusalCode::MissingPhase, detail, 1));
        }
        let source = match source {
            PhaseSource::FileName if !self.contradicts => PhaseSource::NamesAndImages,
            PhaseSource::OnlySeries => PhaseSource::Images,
            source => source,
        };
        Ok((source, confidence(self.probability)))
    }
}

/// Reads every phase, checks its name, and tells one line of each.
pub(in crate::intake) fn decide(
    files: &StudyFiles,
    expected: &[Phase],
    gate: &GateParams,
    mut recogniser: Option<&mut Recogniser>,
) -> Decided {
    let mut told = files.clone();
    let mut refusals = Vec::new();
    let mut series = Vec::new();
    for (at, named) in told.phases.iter_mut().enumerate() {
        let (line, believed) = line(at, named, gate, recogniser.as_deref_mut());
        match believed {
            Ok(believed) => (named.source, named.confidence) = believed,
            Err(refusal) => refusals.push((named.phase, refusal)),
        }
        series.push(line);
    }
    let is_there = |phase: &Phase| told.phases.iter().any(|named| named.phase == *phase);
    let count = files.files().count();
    let missing = expected.iter().find(|phase| !is_there(phase));
    let missing = missing.map(|p| Refusal::new(RefusalCode::MissingPhase, p.code(), count));
    let wanted = refusals.into_iter().find(|(phase, _)| expected.contains(phase));
    let refusal = missing.or(wanted.map(|(_, refusal)| Refusal { file_count: count, ..refusal }));
    Decided { told, refusal, series }
}

type Believed = Result<(PhaseSource, Confidence), Refusal>;

fn line(
    at: usize,
    named: &PhaseFiles,
    gate: &GateParams,
    recogniser: Option<&mut Recogniser>,
) -> (SeriesLine, Believed) {
    let mut line = SeriesLine {
        at,
        scan: Scan { slices: named.files.len(), ..Scan::default() },
        acquisition: at + 1,
        seen: None,
        phase: Some(named.phase),
        probability: 0.0,
        chosen: None,
        outcome: String::new(),
        signs: vec![format!("{} says {}", namer(named.source), named.phase)],
    };
    let volume = match thinned(named, gate, LOOK_MM) {
        Ok(volume) => volume,
        Err(refusal) => {
            (line.acquisition, line.phase) = (0, None);
            line.outcome = format!("cannot be read: {refusal}");
            return (line, Err(refusal));
        }
    };
    line.scan.slices = volume.grid().shape()[0];
    let checked = recogniser.and_then(|by| check(&volume, named, by));
    let believed = match &checked {
        Some(checked) => checked.believed(named.source),
        None => Ok((named.source, named.confidence)),
    };
    if let Some(Checked { seen, probability, .. }) = checked {
        let (look, p) = seen.best();
        line.signs.insert(0, described(&seen));
        (line.phase, line.probability) = match believed {
            Ok(_) => (Some(named.phase), probability),
            Err(_) => (look.phase(), p),
        };
        line.seen = Some(seen);
    }
    line.chosen = believed.is_ok().then_some(named.phase);
    line.outcome = match &believed {
        Ok(_) => format!("read as {}", named.phase),
        Err(_) => format!("not read as {}: the images show another phase", named.phase),
    };
    (line, believed)
}

fn namer(source: PhaseSource) -> &'static str {
    match source {
        PhaseSource::OnlySeries => "being the only file",
        PhaseSource::Given => "a person",
        _ => "the file's name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{files_of_paths, study_key};
    use hepalert_lab::phantom::{Case, Size, generate};
    use hepalert_study::phase::Setting;
    use hepalert_voxels::volume::nifti::write::write_f32;

    #[test]
    fn a_file_that_is_named_as_a_phase_is_told_as_a_series_is() {
        let dir = tempfile::tempdir().unwrap();
        let size = Size { pixels: 32, slices: None };
        let patient = generate(5, Case::Normal, Setting::Venous, size);
        let (_, scan) = &patient.phases[0];
        let volume = Volume::new(scan.grid().clone(), scan.voxels().mapv(f32::from));
        let path = dir.path().join("a_vp.nii.gz");
        std::fs::write(&path, write_f32(&volume)).unwrap();
        let named = [(Phase::Vp, path.clone())];
        let files = files_of_paths(&study_key(b"", "a"), &named).unwrap();
        let gate = GateParams::default();
        let told = |expected| {
            let found = crate::intake::study::decide::decide(&files, expected, &gate, None);
            (found.refusal.map(|r| r.code), found.series[0].why(), found.series[0].scan.slices)
        };
        let slices = scan.grid().shape()[0];
        let line = "read as vp; a person says vp".to_owned();
        assert_eq!(told(&[Phase::Vp]), (None, line.clone(), slices));
        let missing = Some(RefusalCode::MissingPhase);
        assert_eq!(told(&[Phase::Vp, Phase::Nc]), (missing, line, slices));
        std::fs::write(&path, "changed since").unwrap();
        assert_eq!(told(&[Phase::Vp]).0, Some(RefusalCode::FilesChanged));
    }
}
