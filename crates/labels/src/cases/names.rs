//! What the name of a NIfTI file says: an image or labels, of which case, of which phase.
//!
//! Owns the words. Names of this program (`vp.nii.gz`, `labels_base.nii.gz`, `truth.nii.gz`), of
//! nnU-Net (`CASE_0002.nii.gz`) and of hand-made folders (`p7_liver_tumour.nii.gz`) are known;
//! where a name says nothing, the datatype decides.

use hepalert_study::phase::Phase;

/// What a file holds, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// An image; its phase where the name tells it.
    Image(Option<Phase>),
    /// Its files are label maps.
    Labels,
    /// The name says nothing.
    Unknown,
}

/// A name taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// What the files of one case share; empty if the folder is the case.
    pub case: String,
    /// The rest: how the file is called within its case.
    pub own: String,
    /// What it holds.
    pub kind: FileKind,
}

const IMAGES: [&str; 7] = ["ct", "image", "img", "volume", "scan", "series", "imaging"];
const LABELS: [&str; 22] = [
    "label",
    "labels",
    "seg",
    "segmentation",
    "mask",
    "masks",
    "truth",
    "gt",
    "lesion",
    "lesions",
    "tumour",
    "tumor",
    "tumours",
    "tumors",
    "liver",
    "organs",
    "organ",
    "annotation",
    "annotations",
    "manual",
    "pred",
    "prediction",
];

/// The name without its ending, if that is one of NIfTI's.
pub fn stem(file: &str) -> Option<&str> {
    let ends = |end: &str| file.len() > end.len() && file.to_ascii_lowercase().ends_with(end);
    let ending = [".nii.gz", ".nii"].into_iter().find(|end| ends(end))?;
    file.get(..file.len() - ending.len())
}

/// Takes a stem apart.
pub fn name(stem: &str) -> Name {
    let mut from = 0;
    for word in stem.split(['_', '-', '.', ' ']) {
        if let Some(kind) = kind_of(word, from > 0) {
            // `liver` and `tumour` are labels even where `ct` stands first: `ct_liver_mask`.
            let later = stem[from..].split(['_', '-', '.', ' ']).skip(1);
            let is_labels =
                later.filter_map(|word| kind_of(word, true)).any(|k| k == FileKind::Labels);
            let kind = if is_labels { FileKind::Labels } else { kind };
            let case = stem[..from].trim_end_matches(['_', '-', '.', ' ']).to_owned();
            return Name { case, own: stem[from..].to_owned(), kind };
        }
        from += word.len() + 1;
    }
    Name { case: stem.to_owned(), own: stem.to_owned(), kind: FileKind::Unknown }
}

fn kind_of(word: &str, is_later: bool) -> Option<FileKind> {
    let word = word.to_ascii_lowercase();
    if let Some(phase) = Phase::from_code(&word) {
        return Some(FileKind::Image(Some(phase)));
    }
    if LABELS.contains(&word.as_str()) {
        return Some(FileKind::Labels);
    }
    // nnU-Net's channel; a name of four digits alone is a case.
    let is_channel = is_later && word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit());
    (is_channel && word.starts_with("000") || IMAGES.contains(&word.as_str()))
        .then_some(FileKind::Image(None))
}

/// Whether a case or image can be called so: a name of one file that no system misreads.
pub fn is_plain(name: &str) -> bool {
    let allowed =
        |c: char| !c.is_control() && !matches!(c, '/' | '\\' | ':' | '"' | '<' | '>' | '|');
    !name.is_empty() && name.len() <= 150 && !name.starts_with('.') && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_hold() {
        let said = |file: &str| {
            let Name { case, own, kind } = name(stem(file).unwrap());
            format!("{case}|{own}|{kind:?}")
        };
        let vp = "Image(Some(Vp))";
        assert_eq!(said("vp.nii.gz"), format!("|vp|{vp}"));
        assert_eq!(said("p7_vp.nii"), format!("p7|vp|{vp}"));
        assert_eq!(said("ct.nii.gz"), "|ct|Image(None)");
        assert_eq!(said("ct_128_crop.nii.gz"), "|ct_128_crop|Image(None)");
        assert_eq!(said("liver_7_0000.nii.gz"), "|liver_7_0000|Labels");
        assert_eq!(said("case-7_0002.NII.GZ"), "case-7|0002|Image(None)");
        assert_eq!(said("0002.nii.gz"), "0002|0002|Unknown");
        assert_eq!(said("labels_base.nii.gz"), "|labels_base|Labels");
        assert_eq!(said("liver_tumour_machine_a.nii.gz"), "|liver_tumour_machine_a|Labels");
        assert_eq!(said("example_seg_v1.nii.gz"), "example|seg_v1|Labels");
        assert_eq!(said("p7_vp_liver.nii.gz"), "p7|vp_liver|Labels");
        assert_eq!(said("patient 3.nii.gz"), "patient 3|patient 3|Unknown");
        assert_eq!(stem("notes.txt"), None);
        assert_eq!(stem(".nii.gz"), None);
    }

    #[test]
    fn a_name_is_no_path() {
        assert!(is_plain("p7 (second)~vp") && is_plain("Ünal"));
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a\nb", "a:b", &"x".repeat(151)] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }
}
