//! From findings to the folder of a result: label maps, pictures, DICOM objects, `report.json` last.
//!
//! Owns the order in which they are written. Refuses to compute findings.

use std::path::Path;
use std::time::Instant;

use super::objects::{self, Made, NOT_MADE};
use super::quality::Origin;
use super::source_images::SourceImages;
use super::{AnalyzeError, Analyzer, Watch, describe, peak_memory_mib, tracking};
use crate::intake::LoadedPhase;
use crate::report::files::Draft;
use crate::report::record;
use crate::report::types::{Report, StageSeconds};
use hepalert_cascade::align::PhaseAlignment;
use hepalert_cascade::pipeline::Findings;
use hepalert_study::study::{AlignedStudy, Back};

/// What a study came to, and how.
pub(super) struct Done<'a> {
    pub(super) started: Instant,
    pub(super) align_s: f64,
    pub(super) origin: &'a Origin,
    pub(super) alignments: &'a [PhaseAlignment],
    pub(super) back: &'a Back,
    /// Of a study that is DICOM, where objects are wanted.
    pub(super) images: Option<&'a SourceImages>,
    pub(super) findings: &'a Findings,
}

impl Analyzer {
    /// The images that objects refer to, where objects are wanted and the study is DICOM.
    pub(super) fn source_images(
        &self,
        phases: &[LoadedPhase],
    ) -> Result<Option<SourceImages>, AnalyzeError> {
        if self.settings.objects.is_none() {
            return Ok(None);
        }
        let files = phases.iter().map(|phase| &phase.files);
        SourceImages::read(files, &self.gate()).map_err(AnalyzeError::Refused)
    }

    /// Writes the folder `out`.
    pub(super) fn write(
        &self,
        aligned: &AlignedStudy,
        done: &Done<'_>,
        out: &Path,
        watch: Watch<'_>,
    ) -> Result<Report, AnalyzeError> {
        let writing = Instant::now();
        let slices = done.origin.slices(done.alignments, done.back);
        let mut draft = Draft::begin(out)?;
        let objects = self.settings.objects.as_ref();
        if objects.is_some_and(|objects| objects.captures || objects.pdf) {
            draft.keep_pictures();
        }
        draft.add_findings(aligned, done.findings, slices, &mut |written, total| {
            // Too late to stop: the report is nearly there.
            let _ = watch("report", written, total);
        })?;
        if self.settings.keep_margin {
            draft.add_margin(done.findings, done.back)?;
        }
        if self.settings.keep_gains {
            draft.add_gains(done.findings, done.back)?;
        }
        let mut report = self.report(aligned, done.findings, (done.origin, slices));
        describe::tell_alignment(&mut report, done.alignments);
        self.add_objects(&mut draft, &mut report, (done, out));
        tell_times(&mut report, done, writing);
        draft.finish(&mut report)?;
        Ok(report)
    }

    /// A study whose objects cannot be made has its report all the same: that is what alerts.
    fn add_objects(&self, draft: &mut Draft, report: &mut Report, (done, out): (&Done<'_>, &Path)) {
        let Some(settings) = &self.settings.objects else { return };
        let earlier = tracking::earlier(out, report.revision);
        let (before, earlier) = earlier.as_ref().map(|(folder, told)| (told, &**folder)).unzip();
        if let Some(images) = done.images {
            let prior = done.origin.prior.as_deref().and_then(tracking::prior);
            let before = tracking::Before { revision: before, study: prior.as_ref() };
            tracking::name(report, before, images.study_uid());
        }
        let reference = done.origin.reference(done.alignments);
        let made = done.images.zip(reference).map(|(images, reference)| {
            let (findings, back) = (done.findings, done.back);
            let made = Made { settings, images, reference, findings, back, report, earlier };
            objects::add(draft, &made)
        });
        match made {
            Some(Ok(())) => {}
            None => report.quality.push(NOT_MADE.to_owned()),
            Some(Err(error)) => {
                log::error!(STUDY_KEY = report.study_key.as_str(); "no DICOM objects: {error}");
                report.quality.push(NOT_MADE.to_owned());
            }
        }
    }
}

fn tell_times(report: &mut Report, done: &Done<'_>, writing: Instant) {
    let stage = |stage: &str, seconds| StageSeconds {
        stage: stage.to_owned(),
        seconds: record::rounded(seconds),
    };
    let stages = &mut report.timing.stages;
    if done.alignments.len() > 1 {
        stages.insert(0, stage("register", done.align_s));
    }
    stages.insert(0, stage("read", done.origin.read_s));
    stages.push(stage("report", writing.elapsed().as_secs_f64()));
    report.timing.total_s = record::rounded(done.started.elapsed().as_secs_f64());
    report.peak_memory_mib = record::rounded(peak_memory_mib());
}
