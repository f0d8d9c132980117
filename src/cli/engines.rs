//! What commands that run the cascade share: engine arguments, refusals, exit codes.

use std::path::{Path, PathBuf};

use super::{Exit, Failure, words};
use crate::analyze::{Settings, phases_beside};
use crate::config;
use crate::intake::{GateParams, Refusal};
use crate::ui::counted;
use hepalert_cascade::align;
use hepalert_cascade::reclassify::{self, Schemes};
use hepalert_cascade::segment::AirTiles;
use hepalert_engines::EngineError;
use hepalert_engines::backend::{Backend, Precision, Runtime};
use hepalert_study::phase::Phase;
use hepalert_study::system;

/// What runs the networks.
#[derive(Debug, Clone, clap::Args)]
pub struct RuntimeArgs {
    /// What runs the networks.
    #[arg(long, default_value_t = configured().backend, value_parser = words::backends())]
    pub backend: Backend,
    /// The numbers they are computed in.
    #[arg(long, default_value_t = configured().precision, value_parser = words::precisions())]
    pub precision: Precision,
    /// Threads of one engine on the CPU; 0 means one per core.
    #[arg(long, default_value_t = configured().threads.unwrap_or(0), value_parser = words::number::<usize>(0..=1024))]
    pub threads: usize,
    /// Patches per call of the network at most; fewer where a study would not fit into memory.
    #[arg(long, default_value_t = configured().batch, value_parser = words::number::<usize>(1..=64))]
    pub batch: usize,
}

impl RuntimeArgs {
    /// What these arguments choose; compiled networks are kept in the user's cache.
    pub fn runtime(&self) -> Runtime {
        let Self { backend, precision, threads, batch } = *self;
        let threads = (threads > 0).then_some(threads);
        Runtime { backend, precision, threads, batch, cache: user_cache() }
    }
}

/// What the option `--skip-air` chooses.
pub(super) fn air_tiles(skip: bool) -> AirTiles {
    if skip { AirTiles::RunOnce } else { AirTiles::RunAll }
}

/// What holds unless an argument says otherwise: as in the daemon.
pub(super) fn configured() -> config::Engine {
    config::Engine::default()
}

/// What a study may take unless said otherwise: as the daemon.
pub(super) fn memory_mib() -> u64 {
    configured().memory_budget_mib
}

/// `$XDG_CACHE_HOME/hepalert`, or `~/.cache/hepalert`.
pub(super) fn user_cache() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    caches.map(|caches| caches.join("hepalert"))
}

/// Where the engine is and how it runs.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EngineArgs {
    /// Folder of the engine bundle [default: engines/venous-demo beside the program or here].
    #[arg(long)]
    pub engine: Option<PathBuf>,
    /// Further bundle, for a study that lacks a phase of the first or of which one cannot be
    /// aligned; may be given several times.
    #[arg(long)]
    pub other_engine: Vec<PathBuf>,
    /// The phase that stays where it is while others are brought onto it, where a study has it.
    #[arg(long, default_value_t = configured().reference_phase, value_parser = words::phases())]
    pub reference_phase: Phase,
    /// What runs the networks.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Lesion gain of the high-sensitivity view, instead of the bundle's own.
    #[arg(long, allow_negative_numbers = true, alias = "high-gain")]
    pub alpha: Option<f32>,
    /// Patches per lesion in the third stage.
    #[arg(long, default_value_t = configured().patches_per_lesion, value_parser = words::number::<usize>(1..=64))]
    pub patches: usize,
    /// Judge lesions on original patches only: the paper's ablation without lesion-shuffle,
    /// for `evaluate --predicted-no-shuffle`.
    #[arg(long)]
    pub no_shuffle: bool,
    /// Run the first network once on a tile of air and reuse the result for every tile that is
    /// all air: the same labels, faster where the image holds much air.
    #[arg(long)]
    pub skip_air: bool,
    /// Folder of the bundle that tells contrast phases apart [default: ct-phase beside the engine].
    #[arg(long)]
    pub phase_engine: Option<PathBuf>,
    /// Memory that a study may take, the program included, in MiB.
    #[arg(long, default_value_t = memory_mib())]
    pub memory_mib: u64,
}

impl EngineArgs {
    /// The settings these arguments make.
    ///
    /// # Errors
    /// Exit 4 if no engine is given and none is found.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let bundle = match &self.engine {
            Some(bundle) => bundle.clone(),
            None => default_bundle()?,
        };
        if self.alpha.is_some_and(|gain| !(1.0..=1e6).contains(&gain)) {
            let error = anyhow::anyhow!("--alpha must be from 1 to 1000000");
            return Err(Failure::new(Exit::Usage, error));
        }
        Ok(Settings {
            others: self.other_engine.clone(),
            alignment: align::Rules::onto(self.reference_phase),
            runtime: self.runtime.runtime(),
            high_gain: self.alpha,
            reclassify: reclassify::ReclassifyParams {
                patches: self.patches,
                schemes: match self.no_shuffle {
                    true => Schemes::OriginalOnly,
                    false => Schemes::OriginalAndShuffled,
                },
                ..reclassify::ReclassifyParams::default()
            },
            air: air_tiles(self.skip_air),
            memory_budget_bytes: self.memory_mib.saturating_mul(1 << 20),
            gate: GateParams::default(),
            keep_margin: false,
            keep_gains: false,
            phase_bundle: self.phase_engine.clone().or_else(|| phases_beside(&bundle)),
            objects: None,
            bundle,
        })
    }
}

/// The demonstration bundle: in the working folder, beside the program's checkout, or
/// installed.
///
/// # Errors
/// Exit 4 with the places looked at.
pub(crate) fn default_bundle() -> Result<PathBuf, Failure> {
    shipped_bundle("venous-demo")
}

/// A bundle that comes with the program, by its name: looked for as [`default_bundle`].
///
/// # Errors
/// Exit 4 with the places looked at.
pub(crate) fn shipped_bundle(name: &str) -> Result<PathBuf, Failure> {
    let name = Path::new("engines").join(name);
    let mut places = vec![name.clone()];
    if let Ok(program) = std::env::current_exe() {
        places.extend(program.ancestors().skip(1).take(4).map(|folder| folder.join(&name)));
    }
    places.push(Path::new("/usr/share/hepalert").join(&name));
    let found = places.iter().find(|place| place.join(hepalert_bundles::MANIFEST).is_file());
    found.cloned().ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
        let error = anyhow::anyhow!(
            "no engine bundle found at {}; give one with --engine",
            looked.join(", ")
        );
        Failure::new(Exit::Engine, error)
    })
}

/// An engine that cannot be used.
pub(crate) fn unusable(error: EngineError) -> Failure {
    Failure::new(Exit::Engine, error)
}

/// Refuses a path that leads nowhere by its name, before anything is looked for.
///
/// # Errors
/// Exit 3, `unreadable`.
pub(crate) fn require_there(path: &Path) -> Result<(), Failure> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = anyhow::anyhow!("{}: {}", path.display(), system::reason(&error));
            Err(Failure::refused("unreadable", error))
        }
    }
}

/// What to do where this user may not read what is the daemon's.
pub(crate) fn with_rights(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "; run this with sudo, or as the user hepalert",
        _ => "",
    }
}

/// An input that the gate refused.
pub(crate) fn refused(refusal: Refusal) -> Failure {
    let Refusal { code, detail, file_count } = refusal;
    let files = counted(file_count, "file");
    let error = anyhow::anyhow!("{} ({detail}; {files}); {}", code.sentence(), code.advice());
    Failure::refused(code.as_str(), error)
}

/// The input at `path` was refused by the gate: the sentence names it.
pub(crate) fn refused_at(path: &Path) -> impl Fn(Refusal) -> Failure {
    move |refusal| {
        let code = refusal.code.as_str();
        let error = anyhow::anyhow!("{}: {}", path.display(), refused(refusal).error);
        Failure::refused(code, error)
    }
}
