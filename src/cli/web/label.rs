//! `web label`: the labeler on a folder of cases, without a daemon, a store or an engine.
//!
//! Owns the arguments. It listens on this machine alone,
//! where whoever can use the machine may change the labels.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::analyze::Analyzer;
use crate::cli::{Exit, Failure, Ui};
use crate::config::{Config, Role};
use crate::curate::infer;
use crate::daemon::{analysis_settings, stop_on_signals};
use crate::store::Store;
use crate::web::{self, AtRest, LabelEditors, LabelEngine};
use hepalert_engines::EngineError;
use hepalert_labels::cases::{Case, Folder, ImageFile, Reader};
use hepalert_labels::monai::Model;

/// Arguments of `web label`.
#[derive(Debug, clap::Args)]
pub struct Label {
    /// Folder of cases: NIfTI images with or without labels, an nnU-Net raw data set, results of
    /// `analyze` beside their images.
    pub folder: PathBuf,
    /// Who labels: the name that edits are kept under.
    #[arg(long, default_value = "reader")]
    pub reader: String,
    /// Folder for the labels and their history [default: hepalert-labels in the folder].
    #[arg(long)]
    pub labels: Option<PathBuf>,
    /// Bundle of an engine that clients of MONAI Label, such as 3D Slicer, may run on a case.
    #[arg(long)]
    pub engine: Option<PathBuf>,
    /// Port on this machine; 0 takes a free one.
    #[arg(long, default_value_t = 8791)]
    pub port: u16,
}

/// Serves the labeler until SIGTERM or SIGINT.
///
/// # Errors
/// Exit 2 for a reader's name that is none, 3 for a folder without cases, 1 if it cannot serve.
pub(super) fn run(args: &Label, ui: &Ui) -> Result<(), Failure> {
    Reader::new(&args.reader).map_err(|error| Failure::new(Exit::Usage, error))?;
    let folder = Folder::open(&args.folder, args.labels.as_deref())
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    if folder.cases().is_empty() {
        let shown = args.folder.display();
        let error = anyhow::anyhow!(
            "{shown}: no case: put NIfTI images there, with or without labels beside them"
        );
        return Err(Failure::refused("no_case", error));
    }
    let stop = stop_on_signals().map_err(Failure::failed)?;
    // What a page with a daemon keeps in its store goes when this ends.
    let state = tempfile::tempdir().map_err(Failure::failed)?;
    let mut config = Config::default();
    config.device.name.clone_from(&args.reader);
    config.store.folder = state.path().to_owned();
    config.web.login = false;
    config.web.open_role = Role::Annotator;
    config.web.address = format!("127.0.0.1:{}", args.port);
    let store = Store::open(&config.store.database(), Timestamp::now()).map_err(Failure::failed)?;
    let device = Arc::new(AtRest(Timestamp::now()));
    let mut bench = LabelEditors::new(&args.folder, args.labels.as_deref());
    if let Some(bundle) = &args.engine {
        bench = bench.with_engine(engine(bundle, state.path())?);
    }
    let site = web::PageState::new(config, &args.folder, store.store, device)
        .map_err(Failure::failed)?
        .of_cases(bench);
    let handle = web::start(site).map_err(Failure::failed)?;
    let url = format!("http://{}/", handle.address());
    let cases = crate::ui::counted(folder.cases().len(), "case");
    let text = format!("{cases}; open {url} in a browser; Ctrl-C ends it");
    ui.result(&json!({"url": url, "cases": folder.cases().len()}), text)?;
    while !stop.load(Ordering::Relaxed) && handle.is_alive() {
        std::thread::sleep(Duration::from_millis(200));
    }
    handle.stop();
    Ok(())
}

/// An engine for clients; each of its reports lies in the folder for as long as this runs.
fn engine(bundle: &Path, state: &Path) -> Result<LabelEngine, Failure> {
    let mut config = Config::default();
    config.engine.bundle = bundle.to_owned();
    config.store.folder = state.to_owned();
    let unusable = |error: EngineError| Failure::new(Exit::Engine, error);
    let analyzer = Analyzer::open(analysis_settings(&config)).map_err(unusable)?;
    let id = analyzer.bundle().id().to_owned();
    let description = format!("{id} version {}: suspected findings", analyzer.bundle().version());
    let (analyzer, reports) = (Mutex::new(analyzer), state.join("reports"));
    let run = move |case: &Case, _: &ImageFile| {
        let mut analyzer = analyzer.lock().unwrap_or_else(PoisonError::into_inner);
        infer(&mut analyzer, case, &reports.join(&case.id))
    };
    Ok(LabelEngine { model: Model { id, description }, run: Box::new(run) })
}
