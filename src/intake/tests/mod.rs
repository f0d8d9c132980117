//! Stories of files arriving, told to the assembler. Tests only.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use crate::intake::events::{
    AssembleParams, Broken, CompletionRule, Event, Known, Millis, Stranger, StudyEvent,
};
use crate::intake::facts::{FileFacts, Part, SliceFacts, StudyFiles};
use crate::intake::fingerprint::{Digest, study_key};
use crate::intake::folder::markers::Marker;
use crate::intake::folder::names::nifti_name;
use crate::intake::refusal_codes::RefusalCode;
use crate::intake::study::assemble::Assembler;
use hepalert_study::phase::Phase;
use hepalert_study::study::StudyKey;
use hepalert_voxels::volume::dicom::acquisitions::Marks;

mod choices;
mod completion;
mod parts;
mod revisions;
mod stability;
mod strangers;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn key(study: &str) -> StudyKey {
    study_key(b"site", study)
}

/// Slice `n` of a series of a study; the series' name is its description.
fn slice(study: &str, series: &str, n: usize) -> FileFacts {
    let instance = format!("{study}/{series}/{n}");
    FileFacts {
        study: key(study),
        content: digest(&format!("pixels of {instance}")),
        images: None,
        person: None,
        part: Part::Slice(SliceFacts {
            patient: None,
            series: digest(&format!("{study}/{series}")),
            instance: digest(&instance),
            refused: (series == "scout").then_some(RefusalCode::Localiser),
            description: series.into(),
            protocol: String::new(),
            contrast: false,
            acquired_ms: None,
            position_mm: Some(5.0 * n as f64),
            recon: crate::intake::study::phases::Recon::default(),
            marks: Marks::default(),
            said: None,
        }),
    }
}

fn nifti(folder: &str, name: &str, content: &str) -> FileFacts {
    let name = nifti_name(name.as_ref()).unwrap();
    let study = key(&format!("{folder}/{}", name.case));
    FileFacts {
        study,
        content: digest(content),
        images: None,
        person: None,
        part: Part::Nifti(name),
    }
}

struct Story {
    machine: Assembler,
    now: u64,
    told: Vec<StudyEvent>,
}

fn params(expected: &[Phase]) -> AssembleParams {
    AssembleParams { quiet_s: 120.0, phase_quiet_s: 30.0, ..AssembleParams::new("/e", expected) }
}

impl Story {
    fn new(expected: &[Phase]) -> Story {
        Story::after(expected, Vec::new())
    }

    fn after(expected: &[Phase], known: Vec<Known>) -> Story {
        let machine = Assembler::new(params(expected), known);
        Story { machine, now: 0, told: Vec::new() }
    }

    fn event(&mut self, event: Event) -> &mut Story {
        self.told.extend(self.machine.apply(event, Millis(self.now * 1000)));
        self
    }

    fn file(&mut self, path: &str, facts: FileFacts) -> &mut Story {
        let changed_ns = i128::from(self.now) * 1_000_000_000;
        self.event(Event::Stable { path: path.into(), facts, changed_ns })
    }

    fn marker(&mut self, folder: &str, stem: &str) -> &mut Story {
        self.event(Event::Marker(Marker { folder: folder.into(), stem: stem.into() }))
    }

    fn series(&mut self, folder: &str, study: &str, series: &str, count: usize) -> &mut Story {
        for n in 0..count {
            self.file(&format!("{folder}/{series}{n}"), slice(study, series, n));
        }
        self
    }

    /// Seconds pass, one tick each.
    fn wait(&mut self, seconds: u64) -> &mut Story {
        for _ in 0..seconds {
            self.now += 1;
            self.told.extend(self.machine.tick(Millis(self.now * 1000)));
        }
        self
    }

    /// What was told since last asked, in words.
    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told).iter().map(words).collect()
    }

    fn studies(&self) -> Vec<&StudyFiles> {
        let mut studies = Vec::new();
        for outcome in &self.told {
            if let StudyEvent::Complete { study, .. } = outcome {
                studies.push(study);
            }
        }
        studies
    }
}

fn words(outcome: &StudyEvent) -> String {
    match outcome {
        StudyEvent::Received { .. } => "received".into(),
        StudyEvent::Complete { study, why, .. } => {
            let count = |p: &crate::intake::PhaseFiles| format!("{} {}", p.phase, p.files.len());
            let phases: Vec<String> = study.phases.iter().map(count).collect();
            format!("complete {} ({}): {}", study.revision, why.as_str(), phases.join(", "))
        }
        StudyEvent::Refused { revision, refusal, .. } => {
            format!("refused {revision}: {} of {} files", refusal.code, refusal.file_count)
        }
        StudyEvent::Duplicate { .. } => "duplicate".into(),
        StudyEvent::PassedOver { revision, counts, .. } => {
            format!("passed over {revision}: {}", crate::intake::folder::strangers::words(counts))
        }
    }
}

const VENOUS: [Phase; 1] = [Phase::Vp];
const NOTHING: [&str; 0] = [];

fn newest(story: &Story) -> StudyFiles {
    (*story.studies().last().unwrap()).clone()
}

fn rejected(path: &str, study: Option<&str>) -> Event {
    rejected_of(path, study, None)
}

fn rejected_of(path: &str, study: Option<&str>, series: Option<Digest>) -> Event {
    let folder = crate::intake::folder::strangers::top_folder(Path::new("/e"), Path::new(path));
    let broken = Broken {
        code: RefusalCode::TruncatedFile,
        said: "it ends too early".into(),
        content: digest(path),
        study: study.map(key),
        series,
        alone: key(folder.to_str().unwrap()),
    };
    Event::Refused { path: path.into(), broken }
}
