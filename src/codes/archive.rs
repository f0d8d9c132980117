//! Codes of an archive's lists, runs and results.
//!
//! Owns sentences. Refuses to decide.

use super::{Meaning, meaning};

pub(super) const ARCHIVE: [Meaning; 19] = [
    meaning(
        "archive_list_damaged",
        "the list is not as it was written: changed, or cut off",
        "restore it, or write a new one under another name with `hepalert archive list`",
    ),
    meaning(
        "archive_list_missing",
        "there is no list of this name, or it may not be read",
        "name the file that `hepalert archive list` wrote",
    ),
    meaning(
        "archive_list_differs",
        "a list of other studies or other files is there, and it is kept",
        "write the new list under another name; results stay with the list they were made of",
    ),
    meaning(
        "archive_too_many_files",
        "that is more than one list may hold",
        "list the folders inside one by one, or raise --max-files (about 1 GiB of memory a million)",
    ),
    meaning(
        "archive_no_studies",
        "there is no study in this folder; nothing is written",
        "name the folder that holds DICOM or NIfTI, in folders of any names and depth",
    ),
    meaning(
        "archive_root_missing",
        "the folder of the studies is not there",
        "mount it, or say with --root where it is",
    ),
    meaning(
        "archive_other_phases",
        "the list was made for engines of other phases",
        "write a list with this engine, under another name",
    ),
    meaning(
        "archive_other_list",
        "the results are of another list",
        "name the list they were made of, or another folder for results",
    ),
    meaning(
        "archive_other_configuration",
        "the results are of another engine, configuration or input",
        "name another folder for results; `hepalert archive compare` holds the two together",
    ),
    meaning(
        "archive_engine_swapped",
        "the engine's files were exchanged while the run went on",
        "put them back and run again, or begin another folder of results; what is done stays",
    ),
    meaning(
        "archive_shard_taken",
        "another run works on this shard",
        "let it end, or end it (`hepalert archive status` shows which shards are worked on)",
    ),
    meaning(
        "archive_other_split",
        "another run works on these results with another number of shards",
        "let it end, or use its number of shards",
    ),
    meaning(
        "archive_no_locks",
        "the folder of results cannot be locked, so two runs could not be told apart",
        "check that this user may write there; a network file system must keep locks (NFS 4, no `nolock`)",
    ),
    meaning(
        "archive_no_results",
        "this is no folder of results",
        "name the one that `hepalert archive run` wrote, or for a new one an empty or new folder",
    ),
    meaning(
        "archive_result_damaged",
        "a result is cut off or changed, and it is left as it is",
        "move the study's folder away and run its shard again",
    ),
    meaning(
        "archive_nothing_to_compare",
        "both folders hold results of one configuration",
        "compare results of two engines or settings",
    ),
    meaning(
        "archive_studies_missing",
        "studies have no result",
        "run their shards again; `hepalert archive status` says why the last try failed",
    ),
    meaning(
        "archive_studies_failed",
        "studies could not be analysed",
        "`hepalert archive status` says why; the same command tries those alone",
    ),
    meaning(
        "archive_stopped",
        "told to stop before all was done",
        "the same command again goes on where it ended",
    ),
];
