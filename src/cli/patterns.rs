//! Inputs given as patterns: from a job file, a unit or another program, where no shell expands them.

use std::path::{Path, PathBuf};

use super::{Exit, Failure};

/// As a shell: a name that begins with a dot is matched by one that does.
const OPTIONS: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: false,
    require_literal_leading_dot: true,
};

/// The inputs, each pattern among them replaced by all that it matches, in order of name. What is
/// there is taken as it is, whatever its name holds.
///
/// # Errors
/// Exit 3 for a pattern that is none, that matches nothing, or that meets a folder nobody may read.
pub(super) fn expand(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for input in inputs {
        match input.to_str() {
            Some(text) if text.contains(['*', '?', '[']) && !input.exists() => {
                found.extend(matches_of(text)?);
            }
            _ => found.push(input.clone()),
        }
    }
    Ok(found)
}

/// The one input that a pattern matches; anything else is taken as it is.
///
/// # Errors
/// As [`expand`], and exit 2 for a pattern that matches more.
pub(super) fn one(input: &Path) -> Result<PathBuf, Failure> {
    let mut found = expand(&[input.to_owned()])?;
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (_, more) => {
            let count = more + 1;
            let error =
                anyhow::anyhow!("{}: {count} files match this pattern; name one", input.display());
            Err(Failure::new(Exit::Usage, error))
        }
    }
}

fn matches_of(pattern: &str) -> Result<Vec<PathBuf>, Failure> {
    let refused =
        |reason: String| Failure::refused("unreadable", anyhow::anyhow!("{pattern}: {reason}"));
    let paths = glob::glob_with(pattern, OPTIONS)
        .map_err(|error| refused(format!("this is no pattern ({})", error.msg)))?;
    let found: Result<Vec<PathBuf>, _> = paths.collect();
    let found = found.map_err(|error| {
        let (at, error) = (Path::display(error.path()), error.error());
        refused(format!("{at} cannot be read: {error}"))
    })?;
    if found.is_empty() {
        return Err(refused("nothing there matches this pattern".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_pattern_becomes_what_it_matches_in_order_of_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.nii.gz", "a.nii.gz", ".c.nii.gz", "c.txt", "odd[1]"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let at = |name: &str| folder.path().join(name);
        let expanded = expand(&[at("odd[1]"), at("*.nii.gz"), at("gone")]).unwrap();
        assert_eq!(expanded, [at("odd[1]"), at("a.nii.gz"), at("b.nii.gz"), at("gone")]);
        assert_eq!(one(&at("a.*")).unwrap(), at("a.nii.gz"));
        assert_eq!(one(&at("gone")).unwrap(), at("gone"));
        let failure = one(&at("*.nii.gz")).unwrap_err();
        assert!(failure.error.to_string().ends_with("2 files match this pattern; name one"));
    }

    #[test]
    fn a_pattern_without_matches_is_refused_by_its_text() {
        let folder = tempfile::tempdir().unwrap();
        for (pattern, reason) in [("*.nii", "nothing there matches"), ("a[", "no pattern")] {
            let failure = expand(&[folder.path().join(pattern)]).unwrap_err();
            assert_eq!(failure.code, Some("unreadable"));
            let text = failure.error.to_string();
            assert!(text.contains(pattern) && text.contains(reason), "{text}");
        }
    }
}
