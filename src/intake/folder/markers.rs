//! Which files a `.done` marker speaks for.
//!
//! Owns the rules; knows paths alone. Looks near the marker only: thousands of them may wait.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::names::text_of;
use hepalert_study::study::StudyKey;

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
    /// True for files and folders beside it whose names begin with its own.
    fn begins(&self, path: &Path) -> bool {
        let beside = path.strip_prefix(&self.folder).ok().and_then(|below| below.iter().next());
        beside.is_some_and(|name| text_of(name).starts_with(&self.stem))
    }

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

/// A path, and whose study it is; `None` while it is not read yet.
type Place<'a> = (&'a PathBuf, Option<&'a StudyKey>);

/// Where files lie, by path.
pub(crate) struct Places<'a> {
    root: &'a Path,
    owners: &'a BTreeMap<PathBuf, StudyKey>,
    waiting: BTreeSet<&'a PathBuf>,
    /// Directly in the export folder: looked for once, however many markers ask.
    direct: OnceCell<Vec<Place<'a>>>,
}

impl<'a> Places<'a> {
    /// Files of studies, and files that wait to be read.
    pub(crate) fn new(
        root: &'a Path,
        owners: &'a BTreeMap<PathBuf, StudyKey>,
        waiting: BTreeSet<&'a PathBuf>,
    ) -> Places<'a> {
        Places { root, owners, waiting, direct: OnceCell::new() }
    }

    /// The studies that a marker speaks for; `None` while it speaks for nothing, or for
    /// something that is not read yet.
    pub(crate) fn covered(&self, marker: &Marker) -> Option<BTreeSet<&'a StudyKey>> {
        let stem = marker.folder.join(&marker.stem);
        let named = match marker.stem.is_empty() {
            true => Vec::new(),
            false => self.from(&stem, |path| marker.begins(path)),
        };
        let range = marker.range(named.iter().map(|(path, _)| *path), self.root);
        let below: Vec<Place<'a>>;
        let places = match &range {
            Range::Case(..) => &named,
            Range::Directly(_) => self.direct.get_or_init(|| {
                let all = self.from(self.root, |path| path.starts_with(self.root));
                all.into_iter().filter(|(path, _)| range.covers(path)).collect()
            }),
            Range::Below(folder) => {
                below = self.from(folder, |path| path.starts_with(folder));
                &below
            }
        };
        let mut covered = BTreeSet::new();
        for (_, owner) in places.iter().filter(|(path, _)| range.covers(path)) {
            covered.insert((*owner)?);
        }
        (!covered.is_empty()).then_some(covered)
    }

    /// Paths from one on, as long as they are near.
    fn from(&self, first: &Path, is_near: impl Fn(&Path) -> bool) -> Vec<Place<'a>> {
        let first = first.to_path_buf();
        let waiting = self.waiting.range::<PathBuf, _>(&first..).map(|path| (*path, None));
        let owned = self.owners.range::<PathBuf, _>(&first..).map(|(path, key)| (path, Some(key)));
        let near = |place: &Place<'a>| is_near(place.0);
        waiting.take_while(near).chain(owned.take_while(near)).collect()
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
