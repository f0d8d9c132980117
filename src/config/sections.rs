//! The sections that have no file of their own: `[device]`, `[intake]`, `[gate]`, `[engine]`, `[worker]`,
//! `[store]` and `[mqtt]`.
//!
//! Owns their keys, their defaults and the places that follow from them. What cannot go together is
//! told by `check`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::unset;
use hepalert_engines::backend::{Backend, Precision};
use hepalert_study::defaults;
use hepalert_study::phase::Phase;
use hepalert_study::protocol::Protocol;
use hepalert_study::study::Privacy;

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
        let third = hepalert_cascade::reclassify::ReclassifyParams::default();
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

    /// Folder of requests for storage commitment that are not answered yet.
    pub fn commitments(&self) -> PathBuf {
        self.folder.join("dicom/commitments")
    }

    /// Folder of what was refused, and why.
    pub fn quarantine(&self) -> PathBuf {
        self.folder.join("quarantine")
    }
}
