//! The settings, to look at: every key with its value, the default, and what it is for.
//!
//! Owns reading the shipped file's comments, which explain each key. Changes nothing: settings are
//! files on the device. Names of files with secrets are told, what is in them is not.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::page_state::PageState;
use super::problem::Problem;
use crate::config::Config;

/// The file that explains every key.
const SHIPPED: &str = include_str!("../../config/hepalert.toml");

/// All settings.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Settings {
    /// The file that the daemon read first.
    file: String,
    /// In the order of the file.
    sections: Vec<Section>,
}

/// A section.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Section {
    /// Its name.
    name: String,
    /// Its keys.
    keys: Vec<Setting>,
}

/// One setting.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Setting {
    /// The key.
    key: String,
    /// The value, as the file writes it.
    value: String,
    /// The default.
    default: String,
    /// Whether the value is the default.
    is_default: bool,
    /// What it is for.
    help: String,
}

/// The comment above each `section.key` of the shipped file, in its order.
fn explained() -> Vec<(String, String, String)> {
    let (mut section, mut comment, mut found) = (String::new(), Vec::new(), Vec::new());
    for line in SHIPPED.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, _)) = line.split_once(" = ") {
            found.push((section.clone(), key.to_owned(), comment.join(" ")));
        }
        comment.clear();
    }
    found
}

fn value<'a>(table: &'a toml::Table, section: &str, key: &str) -> Option<&'a toml::Value> {
    table.get(section)?.get(key)
}

fn written(value: Option<&toml::Value>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

fn read(site: &PageState) -> Result<Settings, Problem> {
    let table = |config: &Config| toml::Table::try_from(config).map_err(Problem::fault);
    let (now, default) = (table(&site.config)?, table(&Config::default())?);
    let mut sections: Vec<Section> = Vec::new();
    for (section, key, help) in explained() {
        let (is, was) = (value(&now, &section, &key), value(&default, &section, &key));
        let setting =
            Setting { value: written(is), default: written(was), is_default: is == was, key, help };
        match sections.last_mut().filter(|last| last.name == section) {
            Some(last) => last.keys.push(setting),
            None => sections.push(Section { name: section, keys: vec![setting] }),
        }
    }
    // Rules of phases have no line in the shipped file: the default has none.
    if let Some(rules) = value(&now, "phases", "rule") {
        let phases = sections.iter_mut().find(|section| section.name == "phases");
        let rule = Setting {
            key: "rule".to_owned(),
            value: rules.to_string(),
            default: String::new(),
            is_default: false,
            help: "The site's own rules for telling phases, first match wins.".to_owned(),
        };
        phases.into_iter().for_each(|section| section.keys.push(rule.clone()));
    }
    Ok(Settings { file: site.config_file.display().to_string(), sections })
}

/// `GET /api/v1/settings`.
pub(super) async fn show(State(site): State<Arc<PageState>>) -> Result<Json<Settings>, Problem> {
    read(&site).map(Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_explained() {
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        let explained = explained();
        for (section, keys) in &defaults {
            for key in keys.as_table().unwrap().keys() {
                let found = explained.iter().find(|(s, k, _)| s == section && k == key);
                assert!(found.is_some_and(|(.., help)| help.len() > 5), "{section}.{key}");
            }
        }
    }
}
