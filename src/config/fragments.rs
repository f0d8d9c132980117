//! The files of a configuration: the named one, then the fragments of `conf.d` beside it.
//!
//! Owns reading them, adding them up, and which file says what, so that a fault is laid at the
//! right door. Each file is checked alone first: a misspelt key in a fragment is that file's.

use std::path::{Path, PathBuf};

use super::{Config, ConfigError, words};

/// One file.
pub(super) struct Fragment {
    file: PathBuf,
    table: toml::Table,
}

/// Reads `file`, then every `*.toml` of the folder `conf.d` beside it, in order of name.
pub(super) fn read(file: &Path) -> Result<Vec<Fragment>, ConfigError> {
    let mut files = vec![file.to_owned()];
    files.extend(beside(file)?);
    files.into_iter().map(Fragment::read).collect()
}

impl Fragment {
    fn read(file: PathBuf) -> Result<Fragment, ConfigError> {
        let text = match crate::system::read_text(&file) {
            Ok(text) => text,
            Err(_) if file.is_symlink() && !file.exists() => {
                let reason = "this link leads to no file: mend or remove it".to_owned();
                return Err(ConfigError::Syntax { file, reason });
            }
            Err(reason) => return Err(ConfigError::Unreadable { file, reason }),
        };
        let parsed: Result<(Config, toml::Table), toml::de::Error> =
            toml::from_str(&text).and_then(|alone| Ok((alone, text.parse()?)));
        match parsed {
            Ok((_, table)) => Ok(Fragment { file, table }),
            Err(reason) => {
                Err(ConfigError::Syntax { file, reason: words::plain(&reason.to_string()) })
            }
        }
    }
}

/// Their names, in order.
pub(super) fn files(fragments: Vec<Fragment>) -> Vec<PathBuf> {
    fragments.into_iter().map(|fragment| fragment.file).collect()
}

/// All of them together: later ones override, key by key.
pub(super) fn merged(fragments: &[Fragment]) -> Result<Config, ConfigError> {
    let mut whole = toml::Table::new();
    for fragment in fragments {
        merge(&mut whole, fragment.table.clone());
    }
    toml::Value::Table(whole).try_into().map_err(|reason: toml::de::Error| ConfigError::Syntax {
        file: fragments[0].file.clone(),
        reason: words::plain(&reason.to_string()),
    })
}

/// The file that said one of the keys last, and which; the first file and the first key where none
/// did and the default is at fault.
pub(super) fn origin<'a>(
    fragments: &'a [Fragment],
    keys: &[&'static str],
) -> (&'a Path, &'static str) {
    let says = |fragment: &Fragment, key: &str| {
        let (section, name) = key.split_once('.').unwrap_or((key, ""));
        let section = fragment.table.get(section).and_then(toml::Value::as_table);
        section.is_some_and(|keys| keys.contains_key(name))
    };
    let last = fragments.iter().rev().find_map(|fragment| {
        let said = keys.iter().find(|key| says(fragment, key))?;
        Some((fragment.file.as_path(), *said))
    });
    last.unwrap_or((&fragments[0].file, keys[0]))
}

fn beside(file: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = file.with_file_name("conf.d");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let unreadable = |reason| ConfigError::Unreadable { file: folder.clone(), reason };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            continue;
        }
        if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Tables are merged key by key; anything else is replaced.
fn merge(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
