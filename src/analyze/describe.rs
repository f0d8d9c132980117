//! What a report says of the study, the engines and the alignment; `quality` adds what lowers the
//! trust in it.
//!
//! Owns the order of these facts in the [`Report`]. Refuses to compute and to write files.

use super::quality::Origin;
use super::{Analyzer, high_gain, tracking};
use crate::report::record;
use crate::report::slices::Slices;
use crate::report::types::{
    AlignmentRecord, EngineRecord, InputRecord, LesionGains, PipelineRecord, Report, SCHEMA,
    StageSeconds, TimingRecord, methods,
};
use hepalert_cascade::align::PhaseAlignment;
use hepalert_cascade::pipeline::Findings;
use hepalert_study::alignment::AlignmentMethod;
use hepalert_study::digest::hex;
use hepalert_study::outcome::NOTICE;
use hepalert_study::study::AlignedStudy;

impl Analyzer {
    pub(super) fn report(
        &self,
        aligned: &AlignedStudy,
        findings: &Findings,
        (origin, slices): (&Origin, Slices<'_>),
    ) -> Report {
        let back = slices.back;
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
            paper_status: findings.verdict.paper_status(),
            patient_class: record::classes(&findings.verdict),
            lesions: record::kept(findings, slices),
            discarded: record::discarded(findings, slices),
            liver_cm3: record::rounded(findings.liver_cm3),
            liver_place: tracking::place(findings, aligned.grid()),
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
            methods: methods(),
            artefacts: Vec::new(),
            engine_choice: self.instead.clone(),
            notice: NOTICE.to_owned(),
        }
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
        flag(alignment.method() == AlignmentMethod::Rigid, "aligned_rigidly");
        flag(alignment.is_incomplete(), "incomplete");
        if let Some(record) =
            report.phases.iter_mut().find(|record| record.phase == alignment.phase)
        {
            record.alignment = Some(AlignmentRecord::of(alignment));
        }
    }
}
