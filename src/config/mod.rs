//! The configuration: one TOML file, then the fragments of `conf.d` beside it in the order
//! of their names, each overriding what came before.
//!
//! Owns the keys, their defaults and the check that a configuration can work. Every key is
//! explained in `config/hepalert.toml`, which a test holds equal to the defaults. Refuses
//! unknown keys: a misspelt key must not be silently ignored, and each fault names its file.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use check::Fault;
use hepalert_engines::backend::{Backend, Precision};
use hepalert_study::defaults;
use hepalert_study::phase::Phase;
use hepalert_study::protocol::Protocol;
use hepalert_study::study::Privacy;

mod check;
mod dicom;
mod fragments;
mod phases;
mod unset;
mod web;

pub use dicom::{Dicom, DicomTarget};
pub use phases::{PhaseRule, RuledPhase};
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

/// Section `[device]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    /// Name in topics: 1 to 32 of `a-z0-9-`.
    pub name: String,
    /// File with the site key that study keys are made with; made at first start.
    pub site_key_file: PathBuf,
    /// What an alert may carry besides the study key: `minimal`, `linked` or `full`.
    pub privacy: Privacy,
}

/// Section `[intake]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intake {
    /// The export folder.
    pub folder: PathBuf,
    /// Seconds between two looks at the whole folder.
    pub rescan_s: u64,
    /// Seconds a file's size and time must stay the same before it counts.
    pub settle_s: u64,
    /// Seconds without a new file after which a study counts as complete.
    pub quiet_s: u64,
    /// The same when every expected phase is there.
    pub phase_quiet_s: u64,
    /// Seconds after the first file at which a study is taken as it is.
    pub force_complete_s: u64,
    /// Seconds after which a file that cannot be read is reported.
    pub give_up_s: u64,
    /// Look behind links, also out of the folder; otherwise they are reported.
    pub follow_links: bool,
}

/// Section `[gate]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// Lowest tube voltage accepted, in kV.
    pub kvp_min: f64,
    /// Highest tube voltage accepted, in kV.
    pub kvp_max: f64,
    /// Least extent along the body, in mm.
    pub min_extent_mm: f64,
    /// Most files of one study.
    pub max_files: usize,
}

/// Section `[phases]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Phases {
    /// Folder of the bundle that tells contrast phases apart; empty means `ct-phase` beside the
    /// engine, or the installed one.
    #[serde(with = "unset")]
    pub phase_bundle: Option<PathBuf>,
    /// The site's own rules, first match wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<PhaseRule>,
}

/// Section `[engine]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// Folder of the engine bundle.
    pub bundle: PathBuf,
    /// Bundles for studies that lack a phase of the first, or of which one cannot be aligned.
    pub others: Vec<PathBuf>,
    /// The phase that stays where it is while others are brought onto it, where a study has it.
    pub reference_phase: Phase,
    /// What runs the networks.
    pub backend: Backend,
    /// The numbers they are computed in.
    pub precision: Precision,
    /// Threads of the CPU engine; one per core if unset.
    #[serde(with = "unset")]
    pub threads: Option<usize>,
    /// Patches per call of a network at most.
    pub batch: usize,
    /// Run one tile of air and reuse its result for all of them.
    pub skip_air: bool,
    /// Lesion gain of the high-sensitivity view; the bundle's if unset.
    #[serde(with = "unset")]
    pub high_gain: Option<f32>,
    /// Patches per lesion in the third stage.
    pub patches_per_lesion: usize,
    /// Lesions above this volume are kept unseen, in cm3.
    pub keep_above_cm3: f64,
    /// Lesions with a smaller score are discarded, in cm3.
    pub discard_below_cm3: f64,
    /// Most memory a study may need, in MiB.
    pub memory_budget_mib: u64,
    /// Folder of the two slots for installed engines; `engines` in the store if unset.
    #[serde(with = "unset")]
    pub slots: Option<PathBuf>,
    /// Folder of the public keys that installed engines must be signed with.
    pub trusted_keys: PathBuf,
    /// How many different keys must have signed an engine.
    pub signatures_needed: usize,
    /// Folder that is watched for packed engines, if any.
    #[serde(with = "unset")]
    pub update_folder: Option<PathBuf>,
    /// Studies that a new engine must finish before it counts as good.
    pub probation_studies: u32,
    /// Hours that a new engine must work before it counts as good.
    pub probation_hours: u32,
    /// Hours between two self-tests.
    pub selftest_hours: u32,
}

/// Section `[worker]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// Seconds without progress after which the process is killed.
    pub stall_s: u64,
    /// Seconds a study may take altogether.
    pub deadline_s: u64,
    /// Tries before a study is given up.
    pub attempts: u32,
    /// Seconds before the first new try; doubled each time.
    pub retry_s: u64,
}

/// Section `[store]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Folder of the database, results and quarantine.
    pub folder: PathBuf,
    /// Days that results and sent messages are kept; for ever if unset.
    #[serde(with = "unset")]
    pub keep_days: Option<u32>,
    /// Least free disk space in MiB; below it no study is begun.
    pub min_free_mib: u64,
}

/// Section `[mqtt]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Broker's name or address.
    pub host: String,
    /// Broker's port.
    pub port: u16,
    /// Which MQTT: `5` or `3.1.1`.
    pub protocol: Protocol,
    /// First part of every topic.
    pub base: String,
    /// User name.
    #[serde(with = "unset")]
    pub username: Option<String>,
    /// File that holds the password.
    #[serde(with = "unset")]
    pub password_file: Option<PathBuf>,
    /// Speak TLS.
    pub tls: bool,
    /// Certificate authority of the broker, PEM.
    #[serde(with = "unset")]
    pub ca_file: Option<PathBuf>,
    /// This device's certificate, PEM.
    #[serde(with = "unset")]
    pub cert_file: Option<PathBuf>,
    /// This device's private key, PEM.
    #[serde(with = "unset")]
    pub key_file: Option<PathBuf>,
    /// Seconds between two signs of life.
    pub keep_alive_s: u16,
    /// Seconds between two health messages.
    pub health_s: u64,
    /// Take the commands `cmd/ping`, `cmd/ack`, `cmd/replay` and `cmd/reprocess`.
    pub commands: bool,
    /// Minutes after which an alert that nobody has acknowledged is told again; never if unset.
    #[serde(with = "unset")]
    pub escalate_after_min: Option<u32>,
    /// Most times that it is told again.
    pub escalate_times: u32,
}

impl Default for Device {
    fn default() -> Device {
        Device {
            name: "ct-1".to_owned(),
            site_key_file: "/var/lib/hepalert/site.key".into(),
            privacy: Privacy::Minimal,
        }
    }
}

impl Default for Intake {
    fn default() -> Intake {
        Intake {
            folder: "/srv/ct-export".into(),
            rescan_s: 10,
            settle_s: defaults::SETTLE_S,
            quiet_s: defaults::QUIET_S,
            phase_quiet_s: defaults::PHASE_QUIET_S,
            force_complete_s: defaults::FORCE_COMPLETE_S,
            give_up_s: defaults::GIVE_UP_S,
            follow_links: false,
        }
    }
}

impl Default for Gate {
    fn default() -> Gate {
        let [kvp_min, kvp_max] = defaults::KVP;
        let (min_extent_mm, max_files) = (defaults::MIN_EXTENT_MM, defaults::MAX_FILES);
        Gate { kvp_min, kvp_max, min_extent_mm, max_files }
    }
}

impl Default for Engine {
    fn default() -> Engine {
        let third = hepalert_cascade::reclassify::Params::default();
        Engine {
            bundle: "/usr/share/hepalert/engines/venous-demo".into(),
            others: Vec::new(),
            reference_phase: Phase::Vp,
            backend: Backend::Native,
            precision: Precision::F32,
            threads: None,
            batch: 1,
            skip_air: false,
            high_gain: None,
            patches_per_lesion: third.patches,
            keep_above_cm3: third.keep_above_cm3,
            discard_below_cm3: third.discard_below_cm3,
            memory_budget_mib: 2048,
            slots: None,
            trusted_keys: "/etc/hepalert/keys".into(),
            signatures_needed: 1,
            update_folder: None,
            probation_studies: 10,
            probation_hours: 24,
            selftest_hours: 24,
        }
    }
}

impl Default for Worker {
    fn default() -> Worker {
        Worker { stall_s: 120, deadline_s: 1800, attempts: 3, retry_s: 30 }
    }
}

impl Default for Store {
    fn default() -> Store {
        Store { folder: "/var/lib/hepalert".into(), keep_days: Some(90), min_free_mib: 1024 }
    }
}

impl Default for Mqtt {
    fn default() -> Mqtt {
        Mqtt {
            host: "127.0.0.1".to_owned(),
            port: 1883,
            base: "hepalert".to_owned(),
            protocol: Protocol::V5,
            username: None,
            password_file: None,
            tls: false,
            ca_file: None,
            cert_file: None,
            key_file: None,
            keep_alive_s: 30,
            health_s: defaults::HEALTH_S,
            commands: false,
            escalate_after_min: None,
            escalate_times: 3,
        }
    }
}

/// Why a configuration cannot be used. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {reason}; {}", file.display(), what_to_do(reason))]
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

/// How what belongs to a study of one revision is named in the store's folders.
pub fn result_name(study_key: &str, revision: u32) -> String {
    format!("{study_key}-r{revision}")
}

impl Engine {
    /// Most memory a study may need.
    pub fn memory_budget_bytes(&self) -> u64 {
        self.memory_budget_mib.saturating_mul(1 << 20)
    }
}

impl Mqtt {
    /// Whether the broker is another machine, with a network in between.
    pub fn is_remote(&self) -> bool {
        !["127.0.0.1", "::1", "localhost"].contains(&self.host.as_str())
    }
}

/// The database of the store in a folder.
pub fn database_in(folder: &Path) -> PathBuf {
    folder.join("hepalert.sqlite")
}

impl Store {
    /// The database.
    pub fn database(&self) -> PathBuf {
        database_in(&self.folder)
    }

    /// Folder of the results.
    pub fn results(&self) -> PathBuf {
        self.folder.join("results")
    }

    /// Folder of one result: a study of one revision.
    pub fn result(&self, study_key: &str, revision: u32) -> PathBuf {
        self.results().join(result_name(study_key, revision))
    }

    /// Folder that received images lie in until they are a study; the intake watches it.
    pub fn spool(&self) -> PathBuf {
        self.folder.join("dicom/spool")
    }

    /// Folder of what is being received, on the same disk.
    pub fn incoming(&self) -> PathBuf {
        self.folder.join("dicom/incoming")
    }

    /// Folder of what was refused, and why.
    pub fn quarantine(&self) -> PathBuf {
        self.folder.join("quarantine")
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
