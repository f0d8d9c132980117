//! What says of a file or folder that this program made it.
//!
//! Owns the marks: the beginnings of our texts, what stands in our images, the keys of our documents, the
//! report in its folder. Reads no more than is needed to tell.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::report::types::{Report, SCHEMA};
use hepalert_pictures::MAKER;

/// The first line of what `evaluate` writes.
pub(crate) const MADE_BY: &str = "<!-- made by hepalert -->";
/// The folder in a support bundle.
pub(crate) const SUPPORT: &str = "hepalert-support/";
/// The heading of points that `register` writes.
pub(crate) const POINTS: &str = "x_mm_moving,y_mm_moving,z_mm_moving";
/// The table that `analyze` writes of many studies, below the folder of their results.
pub(crate) const SUMMARY_FILE: &str = "summary.csv";
/// What the heading of the table that `analyze` writes of many studies begins with: columns are only
/// added at its end.
pub(crate) const SUMMARY: &str = "case,status,code,verdict,class_base,class_high,findings,suspected,\
    largest_mm,liver_cm3,quality,seconds,report,message,study_key,place";
/// The heading of the table of changes that `archive compare` writes.
pub(crate) const CHANGES: &str = "study,old_verdict,old_code,old_class_base,old_class_high,old_lesions,\
    old_malignant,new_verdict,new_code,new_class_base,new_class_high,new_lesions,new_malignant";
/// What the list of an archive begins with.
pub(crate) const LIST: &str = "{\"schema\":\"urn:hepalert:v1:archive-list\"";
/// The heading of the table of cases that `evaluate` writes.
pub(crate) const CASES: &str = hepalert_lab::evaluate::csv::HEAD;
/// What `evaluate` has counted, while it counts.
pub(super) const COUNTED: &str = hepalert_lab::evaluate::counted::MARK;
/// The heading of the table of cases that `curate` writes.
pub(crate) const DISAGREEMENT: &str = "case,status,code,disagreement,against,mean_dice,worst_class,\
    worst_dice,missed_lesions,false_lesions,largest_cm3,largest_expert,largest_machine,\
    largest_voxel_zyx,labels,picture,message";
/// Manufacturer of a phantom's scanner.
pub(crate) const PHANTOM: &str = "hepalert phantom";
/// What the name of a file begins with that is not whole yet.
pub(crate) const BEGINNING: &str = ".hepalert-";
/// What the name of a folder begins with that is not whole yet.
pub(crate) const DRAFT: &str = ".report-";
/// Name of the report in its folder.
pub(crate) use hepalert_study::result::REPORT;
/// Our texts begin with one of these.
const BEGINNINGS: [&str; 9] =
    [MADE_BY, SUPPORT, POINTS, SUMMARY, CASES, COUNTED, DISAGREEMENT, LIST, CHANGES];
/// Marks stand within this; compressed files are unpacked so far.
const HEAD_BYTES: u64 = 4096;
/// A report with more than this is none of ours.
const MAX_REPORT_BYTES: u64 = 16 << 20;

/// Whether a JSON document has these keys and no others: one of ours is known by them.
pub(super) fn has_keys(path: &Path, keys: &[&str]) -> bool {
    read_json(path).is_some_and(|found: Map<String, Value>| {
        found.len() == keys.len() && keys.iter().all(|key| found.contains_key(*key))
    })
}

/// A document of no more than a report may have.
fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    open(path).ok()?.take(MAX_REPORT_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The report of this program that lies in a folder.
pub(crate) fn report_of(folder: &Path) -> Option<Report> {
    let report: Report = read_json(&folder.join(REPORT))?;
    (report.schema == SCHEMA).then_some(report)
}

/// Whether a file says that this program made it.
pub(super) fn is_ours(path: &Path) -> bool {
    let head = |reader: &mut dyn Read| {
        let mut bytes = Vec::new();
        // What cannot be read bears no mark.
        let _ = reader.take(HEAD_BYTES).read_to_end(&mut bytes);
        bytes
    };
    let Ok(mut file) = open(path) else { return false };
    let packed = head(&mut file);
    let unpacked = match packed.starts_with(&[0x1f, 0x8b]) {
        true => head(&mut MultiGzDecoder::new(&packed[..])),
        false => packed,
    };
    bears_mark(&unpacked)
}

/// Each kind of our files says whose it is at a place of its own; a text that only mentions us
/// is somebody's.
fn bears_mark(head: &[u8]) -> bool {
    let stands = |at: usize, mark: &[u8]| head.get(at..at + mark.len()) == Some(mark);
    let holds = |mark: &[u8]| head.windows(mark.len()).any(|part| part == mark);
    let is_manual =
        || head.split(|byte| *byte == b'\n').any(|line| line.starts_with(b".TH hepalert"));
    (stands(344, b"n+1\0") && stands(148, b"hepalert\0"))
        || (stands(0, b"\x89PNG") && holds(MAKER.join("\0").as_bytes()))
        || (stands(128, b"DICM") && holds(PHANTOM.as_bytes()))
        || BEGINNINGS.iter().any(|beginning| stands(0, beginning.as_bytes()))
        || is_manual()
}

/// Never waits: a pipe is no file of ours.
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}
