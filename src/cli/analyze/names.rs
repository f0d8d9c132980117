//! What the results of many studies are called: as their inputs.
//!
//! Owns names that are no path, each once: the same inputs always give the same names, so that a second
//! run finds what a first one left. A study behind a link is called as the link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::intake::Discovered;
use hepalert_study::study::StudyKey;

/// Folders within folders that links are looked for in.
const MAX_DEPTH: usize = 4;

/// One name per input: its own, with as many of the folders above as tell it from the others.
pub(super) fn of_inputs(inputs: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = inputs.iter().map(|input| parts(input)).collect();
    let deepest = parts.iter().map(Vec::len).max().unwrap_or(1);
    let named = |count: usize| -> Vec<String> {
        let name = |parts: &Vec<String>| parts[parts.len().saturating_sub(count)..].join("-");
        parts.iter().map(name).collect()
    };
    let tells_apart =
        |names: &Vec<String>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    let names = (1..=deepest).map(named).find(tells_apart);
    each_once(names.unwrap_or_else(|| named(deepest)))
}

/// One name per study of an input, those that are refused last: that of the first folder or file in
/// which they differ, or of all between.
pub(super) fn of_found(input: &Path, input_name: &str, found: &Discovered) -> Vec<String> {
    let studies = found.studies.iter().map(|study| (study.place(), &study.key));
    let refused = found.refused.iter().map(|one| (one.place.clone(), &one.key));
    let mut all: Vec<(PathBuf, &StudyKey)> = studies.chain(refused).collect();
    if let [_] = all.as_slice() {
        return vec![input_name.to_owned()];
    }
    if all.iter().any(|(place, _)| !place.starts_with(input)) {
        let links = links(input, MAX_DEPTH);
        for (place, _) in &mut all {
            if let Some(link) = links.get(place) {
                place.clone_from(link);
            }
        }
    }
    let inside: Vec<Vec<String>> =
        all.iter().map(|(place, _)| parts(place.strip_prefix(input).unwrap_or(place))).collect();
    let first: Vec<String> =
        inside.iter().map(|parts| parts.first().cloned().unwrap_or_default()).collect();
    let distinct: BTreeSet<&String> = first.iter().collect();
    let names = match distinct.len() == first.len() && !distinct.contains(&String::new()) {
        true => first,
        false => {
            let keys = all.iter().map(|(_, key)| key.as_str()[..8].to_owned());
            let joined = inside.iter().map(|parts| parts.join("-"));
            joined.zip(keys).map(|(name, key)| if name.is_empty() { key } else { name }).collect()
        }
    };
    each_once(names)
}

/// What the links below a folder lead to, and which link it is.
fn links(folder: &Path, depth: usize) -> BTreeMap<PathBuf, PathBuf> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        match kind {
            Ok(kind) if kind.is_symlink() => {
                found.extend(path.canonicalize().ok().map(|place| (place, path)));
            }
            Ok(kind) if kind.is_dir() && depth > 0 => found.extend(links(&path, depth - 1)),
            _ => {}
        }
    }
    found
}

/// The words of a path that can stand in a name, without the endings of images.
fn parts(path: &Path) -> Vec<String> {
    let words = path.components().filter_map(|part| match part {
        Component::Normal(word) => Some(word.to_string_lossy()),
        _ => None,
    });
    let mut parts: Vec<String> = words.map(|word| plain(&word)).collect();
    if let Some(last) = parts.last_mut() {
        let lower = last.to_ascii_lowercase();
        let ending = [".nii.gz", ".nii", ".dcm"].into_iter().find(|end| lower.ends_with(end));
        last.truncate(last.len() - ending.map_or(0, str::len));
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Nothing hidden, no character that a shell or another system stumbles over.
fn plain(word: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    let word: String = word.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    word.trim_start_matches('.').to_owned()
}

/// Equal names are numbered, in order.
pub(super) fn each_once(names: Vec<String>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    names
        .into_iter()
        .map(|name| {
            let name = if name.is_empty() { "study".to_owned() } else { name };
            let mut free = name.clone();
            for number in 2.. {
                if taken.insert(free.clone()) {
                    break;
                }
                free = format!("{name}-{number}");
            }
            free
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(inputs: &[&str]) -> Vec<String> {
        of_inputs(&inputs.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn inputs_are_named_by_what_tells_them_apart() {
        assert_eq!(named(&["x/a.nii.gz", "x/b.nii", "c.d/"]), ["a", "b", "c.d"]);
        assert_eq!(named(&["x/a/ct.nii.gz", "x/b/ct.nii.gz"]), ["a-ct", "b-ct"]);
        assert_eq!(named(&["x/a", "x/a"]), ["x-a", "x-a-2"]);
        assert_eq!(
            named(&["./.hidden", "M\u{fc}ller Jan", ".."]),
            ["hidden", "M_ller_Jan", "study"]
        );
    }
}
