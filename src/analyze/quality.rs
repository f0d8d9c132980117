//! What the report says of the input and of its quality.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Analyzer;
use super::phases::{Read, record as series_record};
use crate::intake::{QualityFlag, StudyFiles};
use crate::report::slices::Slices;
use crate::report::types::{PhaseRecord, SeriesRecord};
use hepalert_bundles::Untrained;
use hepalert_cascade::align::PhaseAlignment;
use hepalert_cascade::pipeline::{Findings, situs};
use hepalert_study::files::{Confidence, SliceName};
use hepalert_study::phase::Phase;
use hepalert_study::study::{AlignedStudy, Back};
use hepalert_voxels::volume::Orientation;

/// What the report says of the input; taken before the voxels are given away.
pub(super) struct Origin {
    pub(super) revision: u32,
    /// Report of the study of the same patient that was read last.
    pub(super) prior: Option<PathBuf>,
    pub(super) fingerprint: String,
    pub(super) content: [u8; 32],
    pub(super) side_uncertain: bool,
    pub(super) is_second: bool,
    /// What cannot be read beside the images may be slices of them.
    pub(super) unreadable_beside: bool,
    pub(super) acquired: Option<String>,
    pub(super) phases: Vec<PhaseRecord>,
    pub(super) series: Vec<SeriesRecord>,
    pub(super) contradicted: bool,
    pub(super) files: usize,
    /// Of all phases, each once, in order.
    pub(super) quality: BTreeSet<QualityFlag>,
    /// What the engine was not trained for, of any phase.
    pub(super) untrained: BTreeSet<Untrained>,
    /// How the archive knows the slices of each phase.
    pub(super) slice_names: BTreeMap<Phase, Vec<SliceName>>,
    pub(super) read_s: f64,
}

impl Origin {
    pub(super) fn of(files: &StudyFiles, read: &Read, read_s: f64) -> Origin {
        let loaded = &read.loaded;
        Origin {
            revision: files.revision,
            prior: files.prior.clone(),
            fingerprint: files.fingerprint.hex(),
            // Known once the study is aligned.
            content: [0; 32],
            side_uncertain: loaded.phases.iter().any(|phase| phase.side_uncertain),
            is_second: loaded.phases.iter().any(|phase| phase.files.is_second),
            unreadable_beside: files.unreadable_beside > 0,
            acquired: files.acquired.clone(),
            phases: read.phase_records(),
            series: read.series.iter().map(series_record).collect(),
            contradicted: read.contradicted,
            files: files.files().count(),
            quality: loaded.phases.iter().flat_map(|phase| phase.quality.clone()).collect(),
            untrained: BTreeSet::new(),
            slice_names: loaded
                .phases
                .iter()
                .map(|phase| (phase.files.phase, phase.slice_names.clone()))
                .collect(),
            read_s,
        }
    }

    /// The phase that stayed where it was.
    pub(super) fn reference(&self, alignments: &[PhaseAlignment]) -> Option<Phase> {
        let stayed = alignments.iter().find(|one| one.moved.is_none()).map(|one| one.phase);
        // One phase alone is not aligned.
        stayed.or_else(|| self.slice_names.keys().next().copied())
    }

    /// The slices that the study was analysed on: those of the phase that stayed where it was.
    pub(super) fn slices<'a>(
        &'a self,
        alignments: &[PhaseAlignment],
        back: &'a Back,
    ) -> Slices<'a> {
        let reference = self.reference(alignments);
        let names = reference.and_then(|phase| self.slice_names.get(&phase));
        let names = names.filter(|names| names.len() == back.grid().shape()[0]);
        Slices { back, names: names.map_or(&[], Vec::as_slice) }
    }
}

impl Analyzer {
    pub(super) fn quality(
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
        flag(origin.unreadable_beside, "unreadable_files_beside");
        // An engine that takes voxels as they are stored was trained on the usual order.
        let stated = self.plan.network.reader.orientation().is_some();
        let usual = Orientation::of(back.grid()) == Orientation::LPS;
        flag(!stated && !usual, "orientation_untested");
        flags.extend(origin.quality.iter().map(|flag| flag.as_str().to_owned()));
        flags.extend(origin.untrained.iter().map(|what| what.flag().to_owned()));
        flags
    }
}
