//! The configuration: one TOML file, then the fragments of `conf.d` beside it in the order
//! of their names, each overriding what came before.
//!
//! Owns the keys, their defaults and the check that a configuration can work. Every key is
//! explained in `config/hepalert.toml`, which a test holds equal to the defaults. Refuses
//! unknown keys: a misspelt key must not be silently ignored, and each fault names its file.
//! Only [`Config::read`] (and `read_with_files`, which it calls) gives a checked one.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use check::Fault;
use hepalert_study::system;

/// Where a package puts the configuration, and where commands look unless told otherwise.
pub const DEFAULT_FILE: &str = "/etc/hepalert/hepalert.toml";

mod check;
mod dicom;
mod fragments;
mod phases;
mod sections;
mod unset;
mod web;
mod words;

pub use dicom::{Dicom, DicomTarget};
pub use phases::{PhaseRule, Phases};
pub use sections::{Device, Engine, Gate, Intake, Mqtt, Store, Worker, database_in};
pub use web::{Role, Web};

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who this device is.
    pub device: Device,
    /// The export folder.
    pub intake: Intake,
    /// What is refused.
    pub gate: Gate,
    /// How contrast phases are told.
    pub phases: Phases,
    /// The networks.
    pub engine: Engine,
    /// The inference process.
    pub worker: Worker,
    /// Where state and results lie.
    pub store: Store,
    /// The broker.
    pub mqtt: Mqtt,
    /// Images in and results out by DICOM.
    pub dicom: Dicom,
    /// The page.
    pub web: Web,
}

/// Why a configuration cannot be used. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {}; {}", file.display(), system::reason(reason), what_to_do(reason))]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// Not TOML, an unknown key or a value of the wrong type.
    #[error("{}: {reason}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// A value that cannot work.
    #[error("{}: {key}: {reason}", file.display())]
    Value {
        /// The file that set it.
        file: PathBuf,
        /// The key, as `section.key`.
        key: &'static str,
        /// What is expected.
        reason: String,
    },
}

fn what_to_do(reason: &std::io::Error) -> &'static str {
    match reason.kind() {
        ErrorKind::NotFound | ErrorKind::IsADirectory => {
            "give the path of a configuration with --config"
        }
        ErrorKind::InvalidData => "a configuration is text in UTF-8: write the file again",
        _ => "check the permissions of the file and of the folders above it",
    }
}

/// Of the keys that do not go together the file that spoke last is to be changed.
fn at_fault(fragments: &[fragments::Fragment], fault: Fault) -> ConfigError {
    let Fault { key, with, reason } = fault;
    let keys: Vec<&'static str> = [key].into_iter().chain(with).collect();
    match fragments::origin(fragments, &keys) {
        (file, said) if said == key => ConfigError::Value { file: file.to_owned(), key, reason },
        (file, said) => ConfigError::Value {
            file: file.to_owned(),
            key: said,
            reason: format!("{key} must then be {reason}"),
        },
    }
}

impl Config {
    /// Folder of the two slots.
    pub fn slots(&self) -> PathBuf {
        self.engine.slots.clone().unwrap_or_else(|| self.store.folder.join("engines"))
    }

    /// Reads `file`, then every `*.toml` of the folder `conf.d` beside it.
    ///
    /// # Errors
    /// [`ConfigError`] names the first file or key that cannot be used.
    pub fn read(file: &Path) -> Result<Config, ConfigError> {
        Config::read_with_files(file).map(|(config, _)| config)
    }

    /// The same, with the files that were read, in order: each overrides those before it.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn read_with_files(file: &Path) -> Result<(Config, Vec<PathBuf>), ConfigError> {
        let fragments = fragments::read(file)?;
        let config = fragments::merged(&fragments)?;
        check::check(&config).map_err(|fault| at_fault(&fragments, fault))?;
        Ok((config, fragments::files(fragments)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hepalert.toml");
        std::fs::write(&file, text).unwrap();
        (folder, file)
    }

    #[test]
    fn the_shipped_file_says_exactly_the_defaults() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/hepalert.toml");
        assert_eq!(Config::read(&shipped).unwrap(), Config::default());
        let text = std::fs::read_to_string(&shipped).unwrap();
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        for (section, keys) in &defaults {
            for key in keys.as_table().unwrap().keys() {
                let line = text.lines().position(|line| line.starts_with(&format!("{key} =")));
                let line = line.unwrap_or_else(|| panic!("{section}.{key} is not in the file"));
                let above = text.lines().nth(line - 1).unwrap();
                assert!(above.starts_with('#'), "{section}.{key} has no comment");
            }
        }
    }

    #[test]
    fn fragments_override_in_order_of_name() {
        let (folder, file) = written("[mqtt]\nhost = \"a\"\nport = 1\n");
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        std::fs::write(folder.path().join("conf.d/20.toml"), "[mqtt]\nhost = \"c\"\n").unwrap();
        std::fs::write(folder.path().join("conf.d/10.toml"), "[mqtt]\nhost = \"b\"\n").unwrap();
        let config = Config::read(&file).unwrap();
        assert_eq!((config.mqtt.host.as_str(), config.mqtt.port), ("c", 1));
        let files = Config::read_with_files(&file).unwrap().1;
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap()).collect();
        assert_eq!(names, ["hepalert.toml", "10.toml", "20.toml"]);
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_named() {
        let (_folder, file) = written("[intake]\nfoldr = \"x\"\n");
        assert!(Config::read(&file).unwrap_err().to_string().contains("foldr"));
        let (_folder, file) = written("[device]\nname = \"Ward 3\"\n");
        assert!(Config::read(&file).unwrap_err().to_string().contains("device.name"));
        let (_folder, file) = written("[mqtt]\nbase = \"a/#\"\n");
        assert!(Config::read(&file).unwrap_err().to_string().contains("mqtt.base"));
        let (_folder, file) = written("[mqtt]\ncert_file = \"c.pem\"\n");
        assert!(Config::read(&file).is_err());
    }

    #[test]
    fn what_cannot_run_is_refused_by_its_key() {
        for (text, key) in [
            ("[engine]\nprecision = \"f16\"\n", "engine.precision"),
            ("[engine]\nbackend = \"tensorrt\"\nprecision = \"bf16\"\n", "engine.precision"),
            ("[mqtt]\ntls = true\n", "mqtt.tls"),
            (
                "[mqtt]\nbase = \"a/a-name-of-more-than-sixty-four-letters-which-no-topic-may-begin-with\"\n",
                "mqtt.base",
            ),
            ("[mqtt]\nhost = \"\"\n", "mqtt.host"),
            ("[store]\nfolder = \"\"\n", "store.folder"),
            // What JSON cannot say would stop the inference process, which is told in it.
            ("[engine]\nkeep_above_cm3 = inf\n", "engine.keep_above_cm3"),
            ("[engine]\ndiscard_below_cm3 = nan\n", "engine.discard_below_cm3"),
            ("[gate]\nkvp_max = inf\n", "gate.kvp_max"),
            ("[gate]\nmin_extent_mm = nan\n", "gate.min_extent_mm"),
            ("[engine]\nmemory_budget_mib = 0\n", "engine.memory_budget_mib"),
            ("[worker]\ndeadline_s = 0\n", "worker.deadline_s"),
            ("[mqtt]\nhealth_s = 0\n", "mqtt.health_s"),
            ("[intake]\ngive_up_s = 0\n", "intake.give_up_s"),
        ] {
            let (_folder, file) = written(text);
            let said = Config::read(&file).unwrap_err().to_string();
            assert!(said.contains(key), "{text}: {said}");
        }
        let (_folder, file) = written("[engine]\nbackend = \"tract\"\nprecision = \"bf16\"\n");
        assert!(Config::read(&file).unwrap_err().to_string().contains("hepalert.toml: engine."));
        let (_folder, file) = written("[engine]\nprecision = \"bf16\"\n");
        assert!(Config::read(&file).is_ok());
    }

    #[test]
    fn a_fault_names_the_file_that_holds_it() {
        let (folder, file) = written("[engine]\nbatch = 2\n[intake]\nrescan_s = 0\n");
        let said = || Config::read(&file).unwrap_err().to_string();
        assert!(said().contains("hepalert.toml: intake.rescan_s"), "{}", said());
        let fragment = folder.path().join("conf.d/10-site.toml");
        std::fs::create_dir(fragment.parent().unwrap()).unwrap();
        std::fs::write(&fragment, "[intake]\nrescan_s = 5\n[engine]\nbatch = 0\n").unwrap();
        assert!(said().contains("10-site.toml: engine.batch"), "{}", said());
        std::fs::write(&fragment, "[engine]\nbatches = 1\n").unwrap();
        assert!(said().contains("10-site.toml: ") && said().contains("batches"), "{}", said());
        std::fs::write(&fragment, "[engine]\nbatch = \"two\"\n").unwrap();
        assert!(said().contains("10-site.toml: "), "{}", said());
    }

    #[test]
    fn of_two_keys_that_do_not_agree_the_one_said_last_is_blamed() {
        let (folder, file) = written("[gate]\nkvp_max = 120.0\n");
        let fragment = folder.path().join("conf.d/site.toml");
        std::fs::create_dir(fragment.parent().unwrap()).unwrap();
        std::fs::write(&fragment, "[gate]\nkvp_min = 200.0\n").unwrap();
        let said = Config::read(&file).unwrap_err().to_string();
        let expected = "site.toml: gate.kvp_min: gate.kvp_max must then be a number not less than \
                        gate.kvp_min";
        assert!(said.ends_with(expected), "{said}");
        std::fs::write(&fragment, b"\xff").unwrap();
        let said = Config::read(&file).unwrap_err().to_string();
        assert!(said.contains("site.toml") && said.ends_with("write the file again"), "{said}");
    }

    #[test]
    fn what_is_not_set_is_none_and_empty_in_the_file() {
        let (_folder, file) = written("[mqtt]\nusername = \"\"\n[store]\nkeep_days = 0\n");
        let config = Config::read(&file).unwrap();
        assert_eq!((config.mqtt.username.as_deref(), config.store.keep_days), (None, None));
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("username = \"\"") && text.contains("keep_days = 0"), "{text}");
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    }
}
