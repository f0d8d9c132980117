//! What a file's name says: leave it alone, a marker, a NIfTI phase, not ours at all.
//!
//! Owns the rules on names. Refuses to open anything; DICOM files may have any name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hepalert_study::phase::Phase;

/// Endings of files that somebody is still writing.
const UNFINISHED: [&str; 9] =
    [".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", ".download", ".swp", "~"];

/// What systems leave in every folder, by the beginning of the name: nobody sent it.
const LEFT_BY_SYSTEMS: [&str; 12] = [
    ".ds_store",
    "._",
    ".nfs",
    ".fuse_hidden",
    ".trash",
    ".spotlight",
    ".fseventsd",
    "thumbs.db",
    "desktop.ini",
    "@eadir",
    "lost+found",
    "system volume information",
];

/// Endings of files that hold others.
const ARCHIVES: [&str; 10] =
    [".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".iso"];

/// Endings that no image has: beside an export lie viewers, reports and check sums.
const FOREIGN: [&str; 41] = [
    ".txt",
    ".xml",
    ".json",
    ".csv",
    ".tsv",
    ".md",
    ".html",
    ".htm",
    ".pdf",
    ".doc",
    ".docx",
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".gif",
    ".ico",
    ".tif",
    ".log",
    ".exe",
    ".dll",
    ".so",
    ".inf",
    ".ini",
    ".md5",
    ".sha1",
    ".sha256",
    ".yaml",
    ".jar",
    ".class",
    ".js",
    ".css",
    ".properties",
    ".bat",
    ".sh",
    ".db",
    ".lock",
    ".lck",
    ".done",
    ".ttf",
    ".cfg",
];

/// Endings that promise DICOM; most exports have none of them.
const DICOM: [&str; 4] = [".dcm", ".dicom", ".ima", ".dc3"];

/// How a NIfTI file names its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag {
    /// `<case>_0002.nii.gz`: the channel number of the nnU-Net raw data layout.
    Channel(u8),
    /// `<case>_vp.nii.gz`.
    Phase(Phase),
    /// `<case>.nii.gz`: the name says nothing.
    Sole,
}

/// A NIfTI file's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NiftiName {
    /// What the phases of one patient share.
    pub case: String,
    /// Which of them this is.
    pub tag: Tag,
}

/// Names that are not looked behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// Left by an operating system: not even told of.
    Junk,
    /// Begins with a dot.
    Hidden,
    /// Somebody is still writing, or was.
    Unfinished,
}

/// Whether a file or folder of this name is left alone.
pub(crate) fn ignored(name: &OsStr) -> Option<Ignored> {
    let name = text_of(name).to_lowercase();
    if LEFT_BY_SYSTEMS.iter().any(|begin| name.starts_with(begin)) || name.starts_with("~$") {
        return Some(Ignored::Junk);
    }
    if UNFINISHED.iter().any(|end| name.ends_with(end)) {
        return Some(Ignored::Unfinished);
    }
    (name.starts_with('.') && marker_stem_of(&name).is_none()).then_some(Ignored::Hidden)
}

/// True for names that are clearly no image, unless what is in them says so. Not an error:
/// exports carry viewers and notes.
pub(crate) fn foreign(name: &OsStr) -> bool {
    let text = text_of(name).to_lowercase();
    directory(name) || FOREIGN.iter().any(|end| text.ends_with(end))
}

/// True for the index that a DICOM medium has: it begins as an image does.
pub(crate) fn directory(name: &OsStr) -> bool {
    ["dicomdir", "dirfile"].contains(&text_of(name).to_lowercase().as_str())
}

/// True for names of files that hold others.
pub(crate) fn archive(name: &OsStr) -> bool {
    let name = text_of(name).to_lowercase();
    ARCHIVES.iter().any(|end| name.ends_with(end))
}

/// True for names that promise a DICOM file.
pub(crate) fn promises_dicom(name: &OsStr) -> bool {
    let name = text_of(name).to_lowercase();
    DICOM.iter().any(|end| name.ends_with(end))
}

/// The stem of a marker `<stem>.done`; empty for `.done` itself.
pub(crate) fn marker_stem(name: &OsStr) -> Option<String> {
    marker_stem_of(&text_of(name))
}

fn marker_stem_of(name: &str) -> Option<String> {
    let cut = name.len().checked_sub(".done".len())?;
    let (stem, end) = (name.get(..cut)?, name.get(cut..)?);
    end.eq_ignore_ascii_case(".done").then(|| stem.to_owned())
}

/// Takes `<case>_0000.nii.gz`, `<case>_vp.nii` or `<case>.nii.gz` apart, in any letter case.
pub(crate) fn nifti_name(name: &OsStr) -> Option<NiftiName> {
    let name = text_of(name);
    let lower = name.to_ascii_lowercase();
    let end = [".nii.gz", ".nii"].into_iter().find(|end| lower.ends_with(end))?;
    let stem = &name[..name.len() - end.len()];
    let sole = NiftiName { case: stem.to_owned(), tag: Tag::Sole };
    let Some(at) = stem.rfind(['_', '-', '.']) else { return Some(whole_phase(sole)) };
    let (case, last) = (&stem[..at], stem[at + 1..].to_ascii_lowercase());
    let tagged = |tag| NiftiName { case: case.to_owned(), tag };
    if let Some(phase) = Phase::from_code(&last) {
        return Some(tagged(Tag::Phase(phase)));
    }
    let digits = last.len() == 4 && last.bytes().all(|b| b.is_ascii_digit());
    match last.parse::<u8>() {
        Ok(channel) if digits && stem.as_bytes()[at] == b'_' => Some(tagged(Tag::Channel(channel))),
        _ => Some(sole),
    }
}

/// `vp.nii.gz` in a patient's own folder: a phase without a case.
fn whole_phase(sole: NiftiName) -> NiftiName {
    match Phase::from_code(&sole.case.to_ascii_lowercase()) {
        Some(phase) => NiftiName { case: String::new(), tag: Tag::Phase(phase) },
        None => sole,
    }
}

/// What stands for the StudyInstanceUID of a NIfTI case: folder below the root, and case.
pub(crate) fn nifti_study_uid(folder: &Path, case: &str) -> String {
    format!("nifti/{}/{case}", text_of(folder.as_os_str()))
}

/// A name as text; bytes that are not UTF-8 are escaped, so that no two names fall together.
pub(crate) fn text_of(name: &OsStr) -> String {
    match name.to_str() {
        Some(text) => text.to_owned(),
        None => name.as_bytes().escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn sort(names: &[&str]) -> String {
        let kind = |name: &str| {
            let name = OsStr::new(name);
            match (ignored(name), marker_stem(name), nifti_name(name), foreign(name)) {
                (Some(ignored), ..) => format!("{ignored:?}").to_lowercase(),
                (_, Some(stem), ..) => format!("marker {stem:?}"),
                (_, _, Some(nifti), _) => format!("{:?} {:?}", nifti.case, nifti.tag),
                (.., true) => "foreign".to_owned(),
                _ if archive(name) => "archive".to_owned(),
                _ => "perhaps DICOM".to_owned(),
            }
        };
        names.iter().map(|name| format!("{name}: {}\n", kind(name))).collect()
    }

    #[test]
    fn names_say_what_they_are() {
        let names = [
            "a.nii.gz",
            "A_0002.NII.GZ",
            "p7_vp.nii",
            "p7-AP.Nii.gz",
            "vp.nii.gz",
            "x_00001.nii",
            "x_0999.nii",
            ".hidden",
            ".done",
            "p7.done",
            "I.DONE",
            "s.dcm.part",
            "s.tmp",
            "s~",
            "a.nii.gz.crdownload",
            "DICOMDIR",
            "notes.TXT",
            "1.2.840.1",
            "IM-0001",
            "lit_2020.nii",
            "~$x",
            "a.lock",
            "ürgh_nc.nii.gz",
            "study.zip",
            "IM1.dcm.gz",
            ".DS_Store",
        ];
        expect![[r#"
            a.nii.gz: "a" Sole
            A_0002.NII.GZ: "A" Channel(2)
            p7_vp.nii: "p7" Phase(Vp)
            p7-AP.Nii.gz: "p7" Phase(Ap)
            vp.nii.gz: "" Phase(Vp)
            x_00001.nii: "x_00001" Sole
            x_0999.nii: "x_0999" Sole
            .hidden: hidden
            .done: marker ""
            p7.done: marker "p7"
            I.DONE: marker "I"
            s.dcm.part: unfinished
            s.tmp: unfinished
            s~: unfinished
            a.nii.gz.crdownload: unfinished
            DICOMDIR: foreign
            notes.TXT: foreign
            1.2.840.1: perhaps DICOM
            IM-0001: perhaps DICOM
            lit_2020.nii: "lit_2020" Sole
            ~$x: junk
            a.lock: foreign
            ürgh_nc.nii.gz: "ürgh" Phase(Nc)
            study.zip: archive
            IM1.dcm.gz: archive
            .DS_Store: junk
        "#]]
        .assert_eq(&sort(&names));
    }

    #[test]
    fn names_that_are_not_text_stay_apart() {
        let (a, b) = (OsStr::from_bytes(b"\xff.nii"), OsStr::from_bytes(b"\xfe.nii"));
        assert_ne!(nifti_name(a).unwrap().case, nifti_name(b).unwrap().case);
    }
}
