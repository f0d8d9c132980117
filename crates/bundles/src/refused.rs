//! Why a packed bundle is not taken, each with what to do.

use std::path::PathBuf;

use jiff::civil::Date;

use hepalert_engines::EngineError;
use hepalert_study::phase::Setting;

/// Why a packed bundle is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The system refuses to read or write.
    #[error("the file cannot be read: {0}; copy it again")]
    Unreadable(std::io::Error),
    /// A trusted key cannot be used.
    #[error("{}: {reason}; put a minisign public key there or remove the file", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file ends too early.
    #[error("the file is cut off; copy it again")]
    Truncated,
    /// It is not what `engine pack` makes.
    #[error("it is no packed engine: {reason}; ask its maker for a new one")]
    Malformed {
        /// What was found.
        reason: String,
    },
    /// The device trusts nobody.
    #[error("{}: no trusted keys lie there; put the maker's public key there as NAME.pub", folder.display())]
    NoKeys {
        /// The folder that was looked in.
        folder: PathBuf,
    },
    /// Nobody has signed it.
    #[error("it is not signed; ask its maker for a signed one")]
    Unsigned,
    /// Somebody else has signed it, or it was changed after signing.
    #[error("none of the keys in {} has signed it as it is now; ask its maker", folder.display())]
    Untrusted {
        /// The folder of the trusted keys.
        folder: PathBuf,
    },
    /// Fewer have signed it than must.
    #[error("it has {found} of the {needed} signatures that are needed; ask for the others")]
    TooFewSignatures {
        /// Trusted keys that have signed.
        found: usize,
        /// The configured number.
        needed: usize,
    },
    /// The manifest cannot be used.
    #[error("{0}")]
    Manifest(EngineError),
    /// A file is not the one that was signed.
    #[error("`{file}` is not the file that was signed; copy the packed engine again")]
    Altered {
        /// Its name in the bundle.
        file: String,
    },
    /// Its time is over.
    #[error("it expired on {expires}, today is {today}; ask for a newer one, or set the clock")]
    Expired {
        /// The last day.
        expires: Date,
        /// Today, in UTC.
        today: Date,
    },
    /// It takes other phases than this device has.
    #[error("it reads {} studies, this device reads {}; change engine.bundle first", found.name(), needed.name())]
    WrongPhases {
        /// What the engine is for.
        found: Setting,
        /// What the device is for.
        needed: Setting,
    },
    /// Its classes are not those of the cascade.
    #[error("network `{network}` has {found} other classes than the cascade reads; ask its maker")]
    WrongClasses {
        /// The network, by its name in the manifest.
        network: &'static str,
        /// How many classes.
        found: usize,
    },
    /// It was made for another device.
    #[error("it does not fit this device: {reason}")]
    WrongDevice {
        /// What differs.
        reason: String,
    },
    /// It needs more memory than a study may take.
    #[error("it needs {needed_mib} MiB, engine.memory_budget_mib allows {budget_mib}")]
    OverBudget {
        /// What it needs at least.
        needed_mib: u64,
        /// What is allowed.
        budget_mib: u64,
    },
}

impl PackageError {
    /// The reason code, for events and `--json`.
    pub const fn code(&self) -> &'static str {
        match self {
            PackageError::Unreadable(_) => "unreadable",
            PackageError::Key { .. } => "key_unreadable",
            PackageError::Truncated => "truncated",
            PackageError::Malformed { .. } => "malformed",
            PackageError::NoKeys { .. } => "no_trusted_keys",
            PackageError::Unsigned => "unsigned",
            PackageError::Untrusted { .. } => "untrusted_signature",
            PackageError::TooFewSignatures { .. } => "too_few_signatures",
            PackageError::Manifest(_) => "bad_manifest",
            PackageError::Altered { .. } => "altered_file",
            PackageError::Expired { .. } => "expired",
            PackageError::WrongPhases { .. } => "wrong_phases",
            PackageError::WrongClasses { .. } => "wrong_classes",
            PackageError::WrongDevice { .. } => "wrong_device",
            PackageError::OverBudget { .. } => "over_budget",
        }
    }
}
