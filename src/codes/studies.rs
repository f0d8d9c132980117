//! Codes of studies: refused, passed over, failed, and of the quality of a report.
//!
//! Owns sentences. Refuses to decide.

use super::{Meaning, meaning};
use crate::intake::folder::stranger_kind::StrangerKind;

/// Phases that cannot be brought onto one grid.
pub(super) const REFUSED: [Meaning; 6] = [
    meaning(
        "alignment_failed",
        "a phase cannot be aligned with the others",
        "look whether the phases are of one patient and one region; engine.others may name an \
         engine that needs fewer",
    ),
    meaning(
        "no_overlap",
        "a phase shows another part of the body than the others",
        "export phases of one region, and of one examination",
    ),
    meaning("one_slice", "a phase has a single slice", "send the series again, whole"),
    meaning(
        "constant_image",
        "a phase shows nothing: all its voxels are equal",
        "send the series again; look at it in a viewer",
    ),
    meaning("not_finite", "a phase holds values that are no numbers", "export the series again"),
    meaning(
        "too_many_voxels_along_axis",
        "a phase has more rows, columns or slices than can be aligned",
        "export a reconstruction with fewer",
    ),
];

/// Files of no study, told by folder: the kind of most of them is the code.
pub(super) const STRANGERS: [Meaning; StrangerKind::ALL.len()] = [
    meaning(
        StrangerKind::Foreign.as_str(),
        "files that are no images: notes, programs, pictures, pipes and devices",
        "keep other files out of the export folder",
    ),
    meaning(
        StrangerKind::Link.as_str(),
        "links, and links are not followed",
        "export the files themselves, or set intake.follow_links",
    ),
    meaning(
        StrangerKind::Archive.as_str(),
        "files that hold others, which are not looked into",
        "unpack them in the export folder",
    ),
    meaning(
        StrangerKind::Unfinished.as_str(),
        "by their names files that are not finished, and nobody writes on",
        "look whether an export broke off; send the study again",
    ),
    meaning(
        StrangerKind::Hidden.as_str(),
        "files or folders whose names begin with a dot, which are not looked into",
        "export images under other names",
    ),
    meaning(
        StrangerKind::NeverStill.as_str(),
        "files that are written to without end",
        "look which program writes them; write logs elsewhere",
    ),
    meaning(
        StrangerKind::ClosedFolder.as_str(),
        "folders that may not be read",
        "give the service's user the right to read them",
    ),
];

pub(super) const FAILED: [Meaning; 14] = [
    meaning(
        "dicom_refused",
        "an archive did not take an object of the result",
        "the log has its status; change what the archive allows, then `hepalert send KEY --to NAME`",
    ),
    meaning(
        "dicom_object_unreadable",
        "an object of the result is gone or damaged before an archive had it",
        "look at the disk below store.folder, and queue the study again",
    ),
    meaning(
        "dicom_target_busy",
        "an archive has no room, or is busy: it is tried again",
        "look at the archive's disk",
    ),
    meaning(
        "daemon_died",
        "the daemon ended each time this study was analysed",
        "look into the log (`journalctl -u hepalert`, `journalctl -k`) for why, before \
         `hepalert study requeue KEY`",
    ),
    meaning(
        "worker_over_memory",
        "the inference process took far more memory than a study may and was ended",
        "export the study in thicker slices, or raise engine.memory_budget_mib (of a command: --memory-mib)",
    ),
    meaning(
        "analysis_failed",
        "a stage of the analysis failed",
        "look into the log (`journalctl -u hepalert`), then `hepalert study requeue KEY`",
    ),
    meaning(
        "worker_died",
        "the inference process ended without an answer",
        "look for a lack of memory in `journalctl -k`; lower engine.memory_budget_mib or \
         engine.batch",
    ),
    meaning(
        "worker_stalled",
        "the inference process showed no progress for worker.stall_s",
        "check the accelerator and its driver; raise worker.stall_s on a slow device",
    ),
    meaning(
        "deadline_passed",
        "the study took longer than worker.deadline_s",
        "raise worker.deadline_s if the device is slow, or choose a faster engine.backend",
    ),
    meaning(
        "report_unreadable",
        "the report that was written cannot be read",
        "check the disk below store.folder",
    ),
    meaning(
        "report_unsayable",
        "the report holds what no message may say, a number that is none for instance",
        "send a support bundle (`hepalert support-bundle`)",
    ),
    meaning(
        "engine_unusable",
        "the engine cannot be loaded; studies wait",
        "`hepalert doctor` names the file or library",
    ),
    meaning(
        "self_test_failed",
        "the engine does not give the answers it was delivered with; studies wait",
        "set engine.precision to f32 or another engine.backend; if it stays, suspect the hardware",
    ),
    meaning(
        "self_test_crashed",
        "the inference process ended while it tested the engine",
        "as for `worker_died`",
    ),
];

/// What became of a lesion that the first stage found.
pub(super) const LESIONS: [Meaning; 7] = [
    meaning("kept", "the second network finds it again", "see it in the report"),
    meaning(
        "bypassed",
        "it is too large to be asked about, and kept",
        "nothing; engine.keep_above_cm3 is the limit",
    ),
    meaning(
        "too_small",
        "it is smaller than what is asked about",
        "nothing; engine.discard_below_cm3 is the limit",
    ),
    meaning(
        "low_score",
        "the second network does not find enough of it again: a false finding",
        "nothing; `score_cm3` in the report says how much it found",
    ),
    meaning(
        "far_from_liver",
        "it lies outside of the liver and what is near it",
        "nothing; if the liver is not outlined well, look at the pictures",
    ),
    meaning("in_air", "it lies in air: in lung, bowel or outside of the body", "nothing"),
    meaning("not_run", "there was no third stage", "use an engine with a second network"),
];

pub(super) const QUALITY: [Meaning; 20] = [
    meaning(
        "clock_stepped",
        "the clock was set back while the study was under way: how long it took is not known",
        "let the device keep its time by a time server (`timedatectl`)",
    ),
    meaning(
        "shortened",
        "the broker takes no longer message: lesions, artefacts or engines were left out",
        "raise the broker's max_packet_size or message_size_limit; the whole report is on the device",
    ),
    meaning(
        "demonstration_engine",
        "the engine was made to demonstrate the program, not for patients",
        "install an engine that was validated for your site",
    ),
    meaning(
        "dicom_objects_not_made",
        "the result was wanted as DICOM objects too, and there are none",
        "they refer to the images of a study that is DICOM, which this one is not; else the log has the reason",
    ),
    meaning(
        "liver_cut_by_scan",
        "the liver reaches the first or last slice",
        "look at what lies beyond; scan the whole liver",
    ),
    meaning(
        "no_third_stage",
        "the engine has no second network: lesions were not judged again",
        "expect more false findings than with one",
    ),
    meaning(
        "phase_uncertain",
        "a phase was taken for what it is by weak signs only",
        "name the series by phase on the scanner",
    ),
    meaning(
        "phase_contradicted",
        "the images show another phase than the one the series is read as (by its name, its place among others, or a person's word)",
        "look at the phase before you trust the result",
    ),
    meaning(
        "phases_by_names_alone",
        "the bundle that tells contrast phases apart is not there",
        "set phases.phase_bundle, or install the program's own bundle ct-phase",
    ),
    meaning(
        "phase_*_aligned_rigidly",
        "this phase could only be shifted and turned onto the others, not deformed",
        "compare the phases by eye where a finding rests on more than one",
    ),
    meaning(
        "phase_*_incomplete",
        "this phase does not cover the whole liver",
        "scan the whole liver in each phase",
    ),
    meaning(
        "liver_side_unusual",
        "the liver lies on the patient's left",
        "a mirrored anatomy, or images whose sides are swapped: look before you trust a side",
    ),
    meaning(
        "side_uncertain",
        "the file does not say for certain which side is which",
        "export DICOM, or NIfTI with a complete header",
    ),
    meaning(
        "orientation_untested",
        "the voxels are stored in an order that this engine was not tested with",
        "export axial slices as the scanner makes them, or use an engine that states its \
         orientation",
    ),
    meaning(
        "second_series_read",
        "another series of the same scan comes first and could not be read",
        "send that series again, whole",
    ),
    meaning(
        "unreadable_files_beside",
        "files beside the images cannot be read and may be missing slices",
        "look in the log or in `event/study` of that folder which they are; send them again",
    ),
    meaning(
        "fewer_phases_than_configured",
        "the engine for fewer phases was used, since a phase is missing or cannot be aligned",
        "export all phases of the examination",
    ),
    meaning(
        "slice_spacing_not_trained",
        "slices lie closer or further apart than in the images that the engine was trained for",
        "read the result with care; export slices of the spacing in the engine's manifest",
    ),
    meaning(
        "pixel_spacing_not_trained",
        "pixels are smaller or larger than in the images that the engine was trained for",
        "read the result with care; reconstruct with the usual field of view",
    ),
    meaning(
        "field_of_view_not_trained",
        "the slices are smaller or larger than those that the engine was trained for",
        "read the result with care; reconstruct with the usual field of view",
    ),
];
