//! Which files a `.done` marker speaks for.
//!
//! Owns the rules; knows paths alone.

use std::path::{Path, PathBuf};

use super::names::text_of;

/// A `.done` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The folder it lies in.
    pub folder: PathBuf,
    /// Its name without `.done`; may be empty.
    pub stem: String,
}

/// What a marker speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Range {
    /// All below a folder: `STUDY.done` beside `STUDY/`, or `.done` inside.
    Below(PathBuf),
    /// Files in a folder whose names begin with a case: `p7.done` beside `p7_0000.nii.gz`.
    Case(PathBuf, String),
    /// All directly in a folder: in the export folder itself, whose subfolders are other
    /// people's studies.
    Directly(PathBuf),
}

impl Marker {
    /// What it speaks for among these paths. The more exact reading wins.
    pub fn range<'a>(&self, paths: impl Iterator<Item = &'a PathBuf>, root: &Path) -> Range {
        let named = Range::Below(self.folder.join(&self.stem));
        let case = Range::Case(self.folder.clone(), self.stem.clone());
        let mut of_case = false;
        if !self.stem.is_empty() {
            for path in paths {
                if named.covers(path) {
                    return named;
                }
                of_case |= case.covers(path);
            }
        }
        match (of_case, self.folder == root) {
            (true, _) => case,
            (false, true) => Range::Directly(self.folder.clone()),
            (false, false) => Range::Below(self.folder.clone()),
        }
    }
}

impl Range {
    /// True when the marker speaks for this file.
    pub fn covers(&self, path: &Path) -> bool {
        match self {
            Range::Below(folder) => path.starts_with(folder),
            Range::Directly(folder) => path.parent() == Some(folder),
            Range::Case(folder, case) => {
                let name = path.file_name().map(text_of).unwrap_or_default();
                let rest = name.strip_prefix(case.as_str());
                path.parent() == Some(folder)
                    && rest.is_some_and(|rest| rest.starts_with(['.', '_', '-']))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(marker: &str, paths: &[&str]) -> Vec<String> {
        let (folder, name) = marker.rsplit_once('/').unwrap();
        let stem = name.strip_suffix(".done").unwrap().to_owned();
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let range = Marker { folder: folder.into(), stem }.range(paths.iter(), Path::new("/e"));
        let covered = paths.iter().filter(|path| range.covers(path));
        covered.map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_marker_speaks_for_what_its_name_and_place_say() {
        let flat = ["/e/p7_0000.nii.gz", "/e/p7.nii", "/e/p71.nii.gz", "/e/s/1.dcm"];
        assert_eq!(covered("/e/p7.done", &flat), flat[..2]);
        assert_eq!(covered("/e/s.done", &flat), flat[3..]);
        assert_eq!(covered("/e/.done", &flat), flat[..3]);
        assert_eq!(covered("/e/other.done", &flat), flat[..3]);
        let deep = ["/e/s/a/1.dcm", "/e/s/b/2.dcm", "/e/t/3.dcm"];
        assert_eq!(covered("/e/s/.done", &deep), deep[..2]);
        assert_eq!(covered("/e/s/complete.done", &deep), deep[..2]);
    }
}
