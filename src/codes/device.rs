//! Codes of the device: why it is degraded, engines that were not taken, commands.
//!
//! Owns sentences. Refuses to decide.

use super::{Meaning, meaning};

pub(super) const DEGRADED: [Meaning; 22] = [
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
        "check engine.slots, and whose folder it is",
    ),
    meaning(
        "dicom_target_unreachable",
        "an archive does not answer; results wait for it",
        "`hepalert dicom echo` says which and why: is it switched on, are host, port and certificates right?",
    ),
    meaning(
        "dicom_target_refuses_us",
        "an archive answers and does not let this device in; results wait for it",
        "`hepalert dicom echo` says which: let the archive know this device's AE title and address, or renew \
         the token in its token_file",
    ),
    meaning(
        "dicom_target_busy",
        "an archive answers, time and again, that it has no room or is busy; results wait for it",
        "`hepalert doctor` says which, the log its answer: look at the archive's disk and load",
    ),
    meaning(
        "dicom_refused",
        "an archive did not take objects of a result",
        "the log says which; change what the archive allows, then `hepalert send KEY --to NAME`",
    ),
    meaning(
        "store_failing",
        "the database refuses; the queue stands still",
        "check the disk below store.folder, and that all in it belongs to the daemon's account",
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
        "the export folder holds more files and folders than are looked at",
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

pub(super) const ENGINES: [Meaning; 28] = [
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
    meaning(
        "engine_unusable",
        "it cannot be loaded here",
        "`hepalert doctor` names what is missing",
    ),
    meaning("self_test_failed", "it gives other answers than it should", "ask its maker"),
];

pub(super) const COMMANDS: [Meaning; 9] = [
    meaning(
        "unknown-command",
        "there is no such command",
        "the commands are ping, ack, replay and reprocess",
    ),
    meaning("bad-arguments", "the arguments are not those of the schema", "see `mqtt.md`"),
    meaning("retained-command", "commands must not be retained", "send it without retain"),
    meaning("no-open-alert", "no such alert is open", "the worklist tells which are"),
    meaning("unknown-study", "no such study", "`event/study` tells the keys"),
    meaning(
        "not-refused-or-failed",
        "the newest revision of the study is in the queue or has a result",
        "only a study that was refused or failed is tried again",
    ),
    meaning("store-failed", "the database refused", "see `status`"),
    meaning("bad-range", "`from_seq` is above `to_seq`", "send the lower number first"),
    meaning("replay-under-way", "a replay is under way", "ask again when it is done"),
];
