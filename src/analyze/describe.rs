//! What a report says: of the input, of the engines, of what lowers the trust in it.
//!
//! Owns the order of these facts in the [`Report`]. Refuses to compute and to write files.

use super::phases::{Read, record as series_record};
use super::{Analyzer, high_gain};
use crate::intake::StudyFiles;
use crate::report::record;
use crate::report::types::{
    AlignmentRecord, EngineRecord, InputRecord, LesionGains, NOTICE, PhaseRecord, PipelineRecord,
    Report, SCHEMA, SeriesRecord, StageSeconds, TimingRecord,
};
use hepalert_cascade::align::PhaseAlignment;
use hepalert_cascade::pipeline::{Findings, situs};
use hepalert_study::digest::hex;
use hepalert_study::files::Confidence;
use hepalert_study::study::{AlignedStudy, Back};
use hepalert_voxels::volume::Orientation;

/// What the report says of the input; taken before the voxels are given away.
pub(super) struct Origin {
    pub(super) revision: u32,
    pub(super) fingerprint: String,
    pub(super) content: [u8; 32],
    pub(super) side_uncertain: bool,
    pub(super) is_second: bool,
    pub(super) acquired: Option<String>,
    pub(super) phases: Vec<PhaseRecord>,
    pub(super) series: Vec<SeriesRecord>,
    pub(super) contradicted: bool,
    pub(super) files: usize,
    pub(super) read_s: f64,
}

impl Origin {
    pub(super) fn of(files: &StudyFiles, read: &Read, read_s: f64) -> Origin {
        let loaded = &read.loaded;
        Origin {
            revision: files.revision,
            fingerprint: files.fingerprint.hex(),
            // Known once the study is aligned.
            content: [0; 32],
            side_uncertain: loaded.phases.iter().any(|phase| phase.side_uncertain),
            is_second: loaded.phases.iter().any(|phase| phase.is_second),
            acquired: files.acquired.clone(),
            phases: read.phase_records(),
            series: read.series.iter().map(series_record).collect(),
            contradicted: read.contradicted,
            files: files.files().count(),
            read_s,
        }
    }
}

impl Analyzer {
    pub(super) fn report(
        &self,
        aligned: &AlignedStudy,
        findings: &Findings,
        (origin, back): (&Origin, &Back),
    ) -> Report {
        let stages = findings.times.iter().map(|(stage, time)| StageSeconds {
            stage: stage.name().to_owned(),
            seconds: record::rounded(time.as_secs_f64()),
        });
        Report {
            schema: SCHEMA.to_owned(),
            study_key: aligned.key().as_str().to_owned(),
            revision: origin.revision,
            setting: self.bundle.setting(),
            phases: origin.phases.clone(),
            series: origin.series.clone(),
            verdict: findings.verdict.alert_level(),
            paper_status: findings.verdict.paper_status().to_owned(),
            patient_class: record::classes(&findings.verdict),
            lesions: record::kept(findings, back),
            discarded: record::discarded(findings, back),
            liver_cm3: record::rounded(findings.liver_cm3),
            quality: self.quality(aligned, findings, (origin, back)),
            pipeline: PipelineRecord {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                fingerprint: self.fingerprint(),
                lesion_gain: LesionGains {
                    base: self.bundle.lesion_gain().base,
                    high: high_gain(&self.settings, &self.bundle),
                },
            },
            engines: self.engine_records(),
            input: InputRecord {
                fingerprint: origin.fingerprint.clone(),
                content_sha256: hex(&origin.content),
                shape: back.grid().shape(),
                spacing_mm: back.grid().spacing_mm(),
                acquired: origin.acquired.clone(),
            },
            timing: TimingRecord { stages: stages.collect(), total_s: 0.0 },
            peak_memory_mib: 0.0,
            artefacts: Vec::new(),
            engine_choice: self.instead.clone(),
            notice: NOTICE.to_owned(),
        }
    }

    fn quality(
        &self,
        aligned: &AlignedStudy,
        findings: &Findings,
        (origin, back): (&Origin, &Back),
    ) -> Vec<String> {
        let (_, image) = &aligned.phases()[0];
        let mut flags = Vec::new();
        let mut flag = |raised: bool, name: &str| {
            if raised {
                flags.push(name.to_owned());
            }
        };
        flag(self.bundle.intended_use().contains("demonstration"), "demonstration_engine");
        flag(findings.liver_cut, "liver_cut_by_scan");
        flag(self.reclassify.is_none(), "no_third_stage");
        flag(self.instead.is_some(), "fewer_phases_than_configured");
        flag(
            origin.phases.iter().any(|phase| phase.confidence == Confidence::Low),
            "phase_uncertain",
        );
        flag(situs::liver_side_unusual(&findings.labels_base, image), "liver_side_unusual");
        flag(origin.contradicted, "phase_contradicted");
        flag(self.recogniser.is_none(), "phases_by_names_alone");
        flag(origin.side_uncertain, "side_uncertain");
        flag(origin.is_second, "second_series_read");
        // An engine that takes voxels as they are stored was trained on the usual order.
        let stated = self.plan.network.reader.orientation().is_some();
        let usual = Orientation::of(back.grid()) == Orientation::LPS;
        flag(!stated && !usual, "orientation_untested");
        flags
    }

    fn engine_records(&self) -> Vec<EngineRecord> {
        self.bundle
            .networks()
            .map(|(role, _)| EngineRecord {
                role,
                id: self.bundle.id().to_owned(),
                version: u64::from(self.bundle.version()),
                sha256: self.bundle.fingerprint().to_owned(),
                backend: self.settings.runtime.backend,
                precision: role.precision(self.settings.runtime.precision),
            })
            .collect()
    }
}

/// What was done with each phase, and what of that lowers the trust in the result.
pub(super) fn tell_alignment(report: &mut Report, alignments: &[PhaseAlignment]) {
    for alignment in alignments {
        let code = alignment.phase.code();
        let mut flag = |raised: bool, what: &str| {
            if raised {
                report.quality.push(format!("phase_{code}_{what}"));
            }
        };
        flag(alignment.method() == "rigid", "aligned_rigidly");
        flag(alignment.is_incomplete(), "incomplete");
        if let Some(record) =
            report.phases.iter_mut().find(|record| record.phase == alignment.phase)
        {
            record.alignment = Some(AlignmentRecord::of(alignment));
        }
    }
}
