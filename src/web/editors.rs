//! The labeler's side of the server: the folder of cases, and the editors that readers have open.
//!
//! Owns how many editors stay in memory, so that a hundred readers take no more than a few scans.
//! What is edited lies on the disk before it is told, so that an editor can be cleared at any time; only
//! its undo goes with it. Edits, conflicts and history are `hepalert-labels`'s.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::problem::Problem;
use crate::ui::counted;
use axum::http::StatusCode;
use hepalert_labels::Refused;
use hepalert_labels::cases::folder::WORK;
use hepalert_labels::cases::sweep::sweep;
use hepalert_labels::cases::{Case, CaseError, Folder, ImageFile, LabelEditor, Reader, Start};
use hepalert_labels::monai::Model;
use hepalert_voxels::volume::LabelMap;
use log::info;

/// Editors in memory: four scans of 512 x 512 x 200 are some 250 MB with their undo.
const MAX_EDITORS: usize = 4;

type Name = (String, String, Reader);

/// An engine that clients may run on a case: its name, and what it makes of one.
pub struct Engine {
    /// Its name and what it does.
    pub model: Model,
    /// Labels on an image of a case, or why there are none.
    pub run: Run,
}

/// See [`Engine::run`].
pub(super) type Run = Box<dyn Fn(&Case, &ImageFile) -> Result<LabelMap, String> + Send + Sync>;

/// An editor, shared by the requests of its reader; one edit after the other.
pub(super) type Shared = Arc<Mutex<LabelEditor>>;

/// The folder, and who sits at its cases.
pub struct LabelEditors {
    root: PathBuf,
    work: Option<PathBuf>,
    folder: Mutex<Option<Arc<Folder>>>,
    editors: Mutex<Vec<(Name, Instant, Shared)>>,
    models: Vec<Model>,
    run: Option<Run>,
}

impl LabelEditors {
    /// Of a folder of cases; labels go into `work`, or into the folder. What a process that was killed
    /// left half-written there goes.
    pub fn new(root: &Path, work: Option<&Path>) -> LabelEditors {
        let labels = work.map_or_else(|| root.join(WORK), Path::to_owned);
        let swept = sweep(&labels, SystemTime::now());
        if swept > 0 {
            info!("labels: {} removed", counted(swept, "half-written file"));
        }
        LabelEditors {
            root: root.to_owned(),
            work: work.map(Path::to_owned),
            folder: Mutex::default(),
            editors: Mutex::default(),
            models: Vec::new(),
            run: None,
        }
    }

    /// With an engine.
    #[must_use]
    pub fn with_engine(self, engine: Engine) -> LabelEditors {
        LabelEditors { models: vec![engine.model], run: Some(engine.run), ..self }
    }

    /// The engines that clients may run.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// What the engine makes of an image of a case.
    ///
    /// # Errors
    /// A sentence.
    pub fn infer(&self, case: &Case, image: &ImageFile) -> Result<LabelMap, String> {
        let run = self.run.as_ref().ok_or("no engine is loaded here: --engine names one")?;
        run(case, image)
    }

    /// The folder as it is now; read again only where something in it has changed.
    ///
    /// # Errors
    /// [`Problem`] if it cannot be read.
    pub fn look_again(&self) -> Result<Arc<Folder>, Problem> {
        let known = self.folder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.is_as_it_was()) {
            return Ok(known);
        }
        let found = Arc::new(Folder::open(&self.root, self.work.as_deref()).map_err(told)?);
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        *folder = Some(Arc::clone(&found));
        Ok(found)
    }

    /// The folder as it was when it was last looked at.
    ///
    /// # Errors
    /// [`Problem`] if it cannot be read.
    pub fn folder(&self) -> Result<Arc<Folder>, Problem> {
        let known = self.folder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.map_or_else(|| self.look_again(), Ok)
    }

    /// A reader's editor; opened if it is not in memory.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn editor(
        &self,
        case: &str,
        image: &str,
        reader: &Reader,
        start: &Start,
    ) -> Result<Shared, Problem> {
        let name = (case.to_owned(), image.to_owned(), reader.clone());
        let mut editors = self.editors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, used, editor)) = editors.iter_mut().find(|(known, ..)| *known == name) {
            *used = Instant::now();
            return Ok(Arc::clone(editor));
        }
        let folder = self.folder()?;
        let editor = LabelEditor::open(&folder, case, image, reader, start).map_err(told)?;
        let editor = Arc::new(Mutex::new(editor));
        if editors.len() >= MAX_EDITORS {
            let oldest = editors.iter().enumerate().min_by_key(|(_, (_, used, _))| *used);
            let oldest = oldest.map(|(at, _)| at);
            oldest.map(|at| editors.swap_remove(at));
        }
        editors.push((name, Instant::now(), Arc::clone(&editor)));
        Ok(editor)
    }
}

/// A refusal of the labels in the page's words.
pub(super) fn told(error: CaseError) -> Problem {
    let next = match &error {
        CaseError::Unknown { .. } => "list the cases again",
        CaseError::Conflict { .. } => "load the labels again, then make the edit again",
        CaseError::Refused(Refused::Background(_) | Refused::Outside { .. }) => "choose a region",
        CaseError::Refused(Refused::OpenValues { .. }) => {
            "look at these labels and say what each of their values means"
        }
        CaseError::Refused(_) => "look at the region, then try again",
        CaseError::Reader(_) => "take a user's name of a-z, 0-9, dots, - and _",
        CaseError::Nifti { .. } | CaseError::Dicom { .. } | CaseError::TooLong { .. } => {
            "look at the file in another program"
        }
        CaseError::Export(_) => "export NIfTI instead",
        CaseError::File { .. } => "look at the folder's permissions and space",
    };
    // Paths stay on the device.
    let (status, message) = match &error {
        CaseError::Conflict { by, .. } => {
            let who = by.as_ref().map_or_else(
                || "from outside".to_owned(),
                |entry| format!("by {} at {:.0}", entry.reader, entry.when),
            );
            (StatusCode::CONFLICT, format!("the labels were changed {who}"))
        }
        CaseError::Unknown { .. } => (StatusCode::NOT_FOUND, error.to_string()),
        CaseError::Refused(_) | CaseError::Reader(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
        }
        CaseError::Nifti { reason, .. } => (StatusCode::UNPROCESSABLE_ENTITY, reason.to_string()),
        CaseError::Dicom { reason, .. } => (StatusCode::UNPROCESSABLE_ENTITY, reason.clone()),
        CaseError::Export(_) => (StatusCode::CONFLICT, error.to_string()),
        CaseError::File { .. } | CaseError::TooLong { .. } => {
            return Problem::fault(error);
        }
    };
    Problem::new(status, error.code(), message, next)
}
