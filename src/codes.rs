//! What every code means, and what to do: the codes of refused and failed studies, of a degraded
//! device, of a report's quality, of engines that were not taken, of commands.
//!
//! Owns the sentences that go with codes which have no type of their own; those of refused
//! studies are intake's. `docs/codes.md` is written from here, and a test finds each code that
//! the program can send. Refuses to send.

use crate::intake::{QualityFlag, RefusalCode};

/// A code, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// As it is sent.
    pub code: &'static str,
    /// What it means.
    pub sentence: &'static str,
    /// What to do next.
    pub advice: &'static str,
}

/// A chapter of the table: where its codes stand, and its codes.
#[derive(Debug)]
pub struct Chapter {
    /// What these codes are.
    pub title: &'static str,
    /// Where they are seen.
    pub seen: &'static str,
    /// The codes.
    pub codes: Vec<Meaning>,
}

/// All codes there are.
pub fn chapters() -> Vec<Chapter> {
    let rejected = RefusalCode::ALL.map(|code| Meaning {
        code: code.as_str(),
        sentence: code.sentence(),
        advice: code.advice(),
    });
    let reading = QualityFlag::ALL.map(|flag| Meaning {
        code: flag.as_str(),
        sentence: flag.sentence(),
        advice: flag.advice(),
    });
    vec![
        Chapter {
            title: "Studies that are refused",
            seen: "`event/study` with `rejected`, `hepalert queue`, `hepalert study show`",
            codes: rejected.into_iter().chain(REFUSED).collect(),
        },
        Chapter {
            title: "Studies that fail or wait",
            seen: "`event/study` with `failed`, `hepalert queue`, `event/engine`",
            codes: FAILED.to_vec(),
        },
        Chapter {
            title: "Quality of a report",
            seen: "`quality` in `report.json`, `event/result` and `event/alert`",
            codes: QUALITY.into_iter().chain(reading).collect(),
        },
        Chapter {
            title: "A degraded device",
            seen: "`reasons` in `status`",
            codes: DEGRADED.to_vec(),
        },
        Chapter {
            title: "Engines that are not taken",
            seen: "`event/engine` with `refused` or `rolled_back`, `hepalert engine`",
            codes: ENGINES.to_vec(),
        },
        Chapter {
            title: "Commands that are refused",
            seen: "`reply/...`",
            codes: COMMANDS.to_vec(),
        },
    ]
}

/// What the code of a study means, where it is known.
pub fn of_study(code: &str) -> Option<Meaning> {
    chapters().into_iter().take(2).flat_map(|chapter| chapter.codes).find(|m| m.code == code)
}

const fn meaning(code: &'static str, sentence: &'static str, advice: &'static str) -> Meaning {
    Meaning { code, sentence, advice }
}

const REFUSED: [Meaning; 1] = [meaning(
    "phases_not_aligned",
    "the phases do not lie on one grid",
    "export the phases as one reconstruction each, with equal field of view and increment",
)];

const FAILED: [Meaning; 11] = [
    meaning(
        "daemon_died",
        "the daemon ended each time this study was analysed",
        "look into the log (`journalctl -u hepalert`, `journalctl -k`) for why, before \
         `hepalert study requeue KEY`",
    ),
    meaning(
        "worker_over_memory",
        "the inference process took far more memory than a study may and was ended",
        "export the study in thicker slices, or raise engine.memory_budget_mib",
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

const QUALITY: [Meaning; 19] = [
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
        "the images show another phase than the name or the person says",
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

const DEGRADED: [Meaning; 18] = [
    meaning(
        "clock_doubtful",
        "the clock does not go on from where it was: nothing old is removed until it can be \
         believed",
        "set the clock (`timedatectl`); a time that is right is believed after a day",
    ),
    meaning(
        "device_name_taken",
        "another client came to the broker under this device's name",
        "give each device its own device.name; look for a second daemon",
    ),
    meaning(
        "message_too_large",
        "the broker does not take a message for its size: it was shortened or is postponed",
        "raise the broker's max_packet_size or message_size_limit",
    ),
    meaning(
        "site_key_missing",
        "the site key is gone or another one, and the store knows studies that are named with it",
        "restore device.site_key_file from its copy, or move the store away to begin anew",
    ),
    meaning(
        "disk_full",
        "less than store.min_free_mib is free; no study is begun",
        "free space below store.folder, or lower store.keep_days",
    ),
    meaning(
        "engine_rolled_back",
        "a new engine failed on probation; the one before is in use",
        "`hepalert engine list` tells why",
    ),
    meaning("engine_unusable", "the engine cannot be loaded", "`hepalert doctor` names the file"),
    meaning(
        "self_test_failed",
        "the engine in use fails its self-test; studies wait",
        "`hepalert engine selftest` repeats it; suspect the hardware if it stays",
    ),
    meaning(
        "slots_unusable",
        "the folder of installed engines cannot be used; the configured bundle is",
        "check engine.slots and its rights",
    ),
    meaning(
        "store_failing",
        "the database refuses; the queue stands still",
        "check the disk below store.folder",
    ),
    meaning(
        "store_replaced",
        "the database was damaged and moved away; a new one was begun",
        "keep the old file, and look for alerts in its time",
    ),
    meaning(
        "export_folder_missing",
        "the export folder is not there",
        "check intake.folder and whether it is mounted",
    ),
    meaning(
        "export_folder_unreadable",
        "the export folder cannot be listed",
        "give the service's user the right to read it",
    ),
    meaning(
        "export_mount_lost",
        "another file system lies at the export folder than at start",
        "mount the export folder again",
    ),
    meaning(
        "export_blind_spots",
        "folders below the export folder cannot be read",
        "give the service's user the right to read them",
    ),
    meaning(
        "export_too_many_files",
        "the export folder holds more files than are looked at",
        "remove old studies from it",
    ),
    meaning(
        "export_too_deep",
        "folders lie deeper than is looked at",
        "export into fewer levels of folders",
    ),
    meaning(
        "export_no_hints",
        "the system tells of no new files; they are found by looking again",
        "raise fs.inotify.max_user_watches; on a network folder this is usual",
    ),
];

const ENGINES: [Meaning; 28] = [
    meaning("unreadable", "the file cannot be read", "copy it again"),
    meaning("key_unreadable", "a trusted key cannot be read", "correct engine.trusted_keys"),
    meaning("truncated", "the file ends early", "copy it again"),
    meaning("malformed", "the file is no packed engine", "ask its maker"),
    meaning("no_trusted_keys", "no key is trusted", "put the maker's key into engine.trusted_keys"),
    meaning("unsigned", "nobody signed it", "ask its maker for a signed one"),
    meaning(
        "untrusted_signature",
        "nobody who is trusted signed it",
        "compare the maker's key with those in engine.trusted_keys",
    ),
    meaning(
        "too_few_signatures",
        "fewer signed it than engine.signatures_needed",
        "have it signed by the others",
    ),
    meaning("bad_manifest", "its manifest cannot be used", "ask its maker"),
    meaning("altered_file", "a file is not the one that was signed", "copy it again"),
    meaning("expired", "its time is over", "ask its maker for a newer one"),
    meaning("wrong_phases", "it takes other phases than this device reads", "ask its maker"),
    meaning("wrong_classes", "it knows other classes", "ask its maker"),
    meaning("wrong_device", "it was made for another kind of device", "ask its maker"),
    meaning(
        "over_budget",
        "it needs more memory than engine.memory_budget_mib",
        "raise that if the device has the memory",
    ),
    meaning("no_space", "there is no room for it on the disk", "free space below store.folder"),
    meaning("under_way", "another install is under way", "try again when it is done"),
    meaning("slots_unusable", "the slots' folder cannot be used", "check engine.slots"),
    meaning("on_probation", "an engine is on probation", "wait until it counts as good"),
    meaning("already_installed", "this very engine is installed", "nothing is to be done"),
    meaning("failed_before", "it failed here before", "`hepalert engine install --again`"),
    meaning("older", "it is older than the one in use", "`hepalert engine rollback` goes back"),
    meaning("slot_empty", "the slot is empty", "install an engine first"),
    meaning("not_proven", "it has not passed its self-test", "install it again"),
    meaning("slot_in_use", "the slot is in use", "switch to the other one first"),
    meaning("nothing_before", "there is no engine before this one", "nothing is to be done"),
    meaning("engine_unusable", "it cannot be loaded here", "`hepalert doctor` names what lacks"),
    meaning("self_test_failed", "it gives other answers than it should", "ask its maker"),
];

const COMMANDS: [Meaning; 7] = [
    meaning("unknown-command", "there is no such command", "ping, ack and replay there are"),
    meaning("bad-arguments", "the arguments are not those of the schema", "see `mqtt.md`"),
    meaning("retained-command", "commands must not be retained", "send it without retain"),
    meaning("no-open-alert", "no such alert is open", "the worklist tells which are"),
    meaning("store-failed", "the database refused", "see `status`"),
    meaning("bad-range", "`from_seq` is above `to_seq`", "send the lower number first"),
    meaning("replay-under-way", "a replay is under way", "ask again when it is done"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_once_in_its_chapter() {
        for chapter in chapters() {
            let mut codes: Vec<_> = chapter.codes.iter().map(|meaning| meaning.code).collect();
            let all = codes.len();
            codes.sort_unstable();
            codes.dedup();
            assert_eq!(codes.len(), all, "{}", chapter.title);
        }
        assert_eq!(of_study("worker_died").unwrap().code, "worker_died");
        assert_eq!(of_study("disk_full"), None, "a device's, not a study's");
    }

    #[test]
    fn all_that_ails_the_export_folder_is_explained() {
        let known: Vec<_> = DEGRADED.iter().map(|meaning| meaning.code).collect();
        for code in crate::intake::Degraded::CODES {
            assert!(known.contains(&code), "{code}");
        }
    }
}
