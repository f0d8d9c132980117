//! What a client of MONAI Label asks of a folder of cases, as 3D Slicer's module does.
//!
//! Owns the calls of that module and their answers, as functions of bytes: a server hands requests
//! in and sends answers out. An image is named as its case, with `@` and the image's name where a
//! case has several. Refuses to train, and never tells a path: the client would open it.

use hepalert_voxels::volume::LabelMap;
use hepalert_voxels::volume::nifti::read::read_labels;
use hepalert_voxels::volume::nifti::write::write_u8;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::cases::editor::NEW;
use crate::cases::folder::{damaged, nifti_of};
use crate::cases::given::Senses;
use crate::cases::order::Order;
use crate::cases::stored::{is_labelled, labels, reader_names};
use crate::cases::{Case, CaseError, Folder, ImageFile, LabelEditor, Reader, Start, Who};
use crate::refused::Refused;

pub mod multipart;

/// What labels that a client sends are called in the history.
const FROM: &str = "MONAI Label client";
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
/// The tag by which a client asks for labels that are final: the reader's own.
const FINAL: [&str; 3] = ["", "final", "original"];

/// A call.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// GET, HEAD, POST, PUT.
    pub method: &'a str,
    /// The path below the server's address for these calls, as `/info/`.
    pub path: &'a str,
    /// The query's pairs, decoded.
    pub query: &'a [(String, String)],
    /// The body's content type.
    pub content_type: &'a str,
    /// The body, no longer than the server takes.
    pub body: &'a [u8],
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: String,
    /// The name of the file, if it is one: to be sent as a content disposition.
    pub file_name: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// An engine that a client may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub id: String,
    /// What it does, for people.
    pub description: String,
}

/// Runs an engine on an image of a case; its labels lie on that image.
pub type Infer<'a> = &'a mut dyn FnMut(&str, &Case, &ImageFile) -> Result<LabelMap, String>;

/// Who asks, of what.
pub struct Service<'a> {
    /// The cases.
    pub folder: &'a Folder,
    /// Whose labels are read and written.
    pub reader: &'a Reader,
    /// Which engines there are.
    pub models: &'a [Model],
    /// The version of the program.
    pub version: &'a str,
    /// The time of the call.
    pub now: Timestamp,
}

/// Why a call has no answer but a status and a sentence.
struct Denied(u16, String);

impl From<CaseError> for Denied {
    fn from(error: CaseError) -> Denied {
        let status = match &error {
            CaseError::Unknown { .. } => 404,
            CaseError::Conflict { .. } => 409,
            CaseError::File { .. } => 500,
            CaseError::Reader(_)
            | CaseError::Refused(_)
            | CaseError::Nifti { .. }
            | CaseError::Dicom { .. }
            | CaseError::TooLong { .. }
            | CaseError::Export(_) => 400,
        };
        let sentence = match &error {
            // The system's words name a path.
            CaseError::File { .. } => "a file cannot be read or written on the server".to_owned(),
            CaseError::Nifti { reason, .. } => reason.to_string(),
            CaseError::Dicom { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        Denied(status, sentence)
    }
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Denied {
        Denied(400, refused.to_string())
    }
}

impl Service<'_> {
    /// Answers a call. `infer` is asked for `/infer/` alone.
    pub fn answer(&self, request: &Request, infer: Infer) -> Response {
        let answered = self.routed(request, infer);
        answered.unwrap_or_else(|Denied(status, detail)| Response {
            status,
            ..json_of(&json!({"detail": detail}))
        })
    }

    fn routed(&self, request: &Request, infer: Infer) -> Result<Response, Denied> {
        let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        match (request.method, &parts[..]) {
            // Whoever lets people log in answers for that before.
            ("GET", ["auth"]) => Ok(json_of(&json!({"enabled": false}))),
            ("GET", ["info"]) => Ok(json_of(&self.info()?)),
            ("POST", ["activelearning", strategy]) => Ok(json_of(&self.next(strategy)?)),
            ("GET" | "HEAD", ["datastore", "image"]) => self.image(request),
            ("GET", ["datastore"]) => Ok(json_of(&self.datastore()?)),
            ("GET" | "HEAD", ["datastore", "label"]) => self.label(request),
            ("PUT", ["datastore", "label"]) => self.take_in(request),
            ("POST", ["infer", model]) => self.infer(request, model, infer),
            // Not training: the client asks before it offers to.
            (_, ["train" | "session", ..]) => Err(Denied(404, "not offered here".to_owned())),
            _ => Err(Denied(404, "there is no such call".to_owned())),
        }
    }

    /// Label names to values, background left out.
    fn names(&self) -> Map<String, Value> {
        let names = self.folder.meaning().names().iter().filter(|(label, _)| **label > 0);
        names.map(|(label, name)| (name.clone(), json!(label))).collect()
    }

    fn info(&self) -> Result<Value, Denied> {
        let names = self.names();
        let model = |model: &Model| {
            let described = json!({"type": "segmentation", "labels": names, "dimension": 3,
                "description": model.description, "config": {}});
            (model.id.clone(), described)
        };
        let models: Map<String, Value> = self.models.iter().map(model).collect();
        let (total, completed) = self.counts()?;
        Ok(json!({
            "name": "hepalert", "version": self.version,
            "description": "Cases of a folder. Labels are for research: no diagnosis",
            "labels": names.keys().collect::<Vec<_>>(),
            "models": models, "trainers": {}, "scoring": {}, "train_stats": {}, "config": {},
            "strategies": {
                "first": {"description": "the first case that you have not labelled"},
                "disagreement":
                    {"description": "the case that machine and people disagree most about"},
            },
            "datastore": {"total": total, "completed": completed},
        }))
    }

    /// Images, and those this reader has labelled.
    fn counts(&self) -> Result<(usize, usize), Denied> {
        let (mut total, mut completed) = (0, 0);
        for case in self.folder.cases() {
            for image in &case.images {
                total += 1;
                completed += usize::from(is_labelled(self.folder, case, image, self.reader)?);
            }
        }
        Ok((total, completed))
    }

    fn next(&self, strategy: &str) -> Result<Value, Denied> {
        let order = match strategy {
            "first" => Order::default(),
            "disagreement" => Order::read(self.folder.work())?,
            _ => return Err(Denied(404, format!("there is no strategy {strategy:?}"))),
        };
        for (case, _) in order.of(self.folder) {
            let image = case.first_image();
            if !is_labelled(self.folder, case, image, self.reader)? {
                return Ok(json!({"id": image_id(case, image), "name": file_name(case, image)}));
            }
        }
        Ok(json!({}))
    }

    /// The case and image that a call names.
    fn named(&self, request: &Request, key: &str) -> Result<(&Case, &ImageFile), Denied> {
        let id = word(request, key).unwrap_or_default();
        let all = self.folder.cases().iter();
        let mut all = all.flat_map(|case| case.images.iter().map(move |image| (case, image)));
        all.find(|(case, image)| image_id(case, image) == id)
            .ok_or_else(|| Denied(404, format!("there is no image {id:?}")))
    }

    fn image(&self, request: &Request) -> Result<Response, Denied> {
        let (case, image) = self.named(request, "image")?;
        Ok(file_of(request, file_name(case, image), nifti_of(image)?))
    }

    fn datastore(&self) -> Result<Value, Denied> {
        let mut objects = Map::new();
        let params = json!({"params": {"label_names": self.names()}});
        for case in self.folder.cases() {
            for image in &case.images {
                let mut tags = Map::new();
                for who in self.whose(case, image)? {
                    tags.insert(tag_of(&who), json!({"ext": ".nii.gz", "info": params}));
                }
                if is_labelled(self.folder, case, image, self.reader)? {
                    tags.insert("final".to_owned(), json!({"ext": ".nii.gz", "info": params}));
                }
                let ext = if is_gzipped(image) { ".nii.gz" } else { ".nii" };
                let entry = json!({"image": {"ext": ext, "info": {}}, "labels": tags});
                objects.insert(image_id(case, image), entry);
            }
        }
        Ok(json!({"name": "hepalert", "description": "", "objects": objects}))
    }

    /// Everybody who has labels of an image.
    fn whose(&self, case: &Case, image: &ImageFile) -> Result<Vec<Who>, Denied> {
        let senses = Senses::of(self.folder);
        let mut given = Vec::new();
        for labels in case.labels_on(image) {
            // What nobody can name is no segment of a name.
            if senses.may_be_known(&labels.name)? {
                given.push(Who::Given(labels.name.clone()));
            }
        }
        let readers = reader_names(self.folder, case, image)?.into_iter().map(Who::Reader);
        Ok(given.into_iter().chain(readers).collect())
    }

    fn label(&self, request: &Request) -> Result<Response, Denied> {
        let (case, image) = self.named(request, "label")?;
        let tag = word(request, "tag").unwrap_or_default();
        let (case_id, image_name) = (case.id.as_str(), image.name.as_str());
        let labelling = match self.whose(case, image)?.into_iter().find(|who| tag_of(who) == tag) {
            Some(who) => labels(self.folder, case, image, &who)?,
            None if FINAL.contains(&tag) => {
                let start = Start::Usual;
                let editor =
                    LabelEditor::open(self.folder, case_id, image_name, self.reader, &start)?;
                if editor.is_empty() {
                    return Err(Denied(404, "nobody has labelled it".to_owned()));
                }
                editor.into_labelling()
            }
            None => return Err(Denied(404, format!("there are no labels {tag:?}"))),
        };
        let name = format!("{}.nii.gz", image_id(case, image));
        Ok(file_of(request, name, write_u8(&labelling.stored())))
    }

    /// Labels of the client become the reader's own. What they replace stays, under a name of its
    /// own, if a person made it by edits.
    fn take_in(&self, request: &Request) -> Result<Response, Denied> {
        let (case, image) = self.named(request, "image")?;
        let parts = multipart::parse(request.content_type, request.body)
            .ok_or_else(|| Denied(400, "the body is no form".to_owned()))?;
        let part = |name: &str| parts.iter().find(|part| part.name == name).map(|part| part.bytes);
        let sent = part("label").ok_or_else(|| Denied(400, "the form has no label".to_owned()))?;
        let mut labels = read_labels(sent).map_err(damaged(image.place()))?;
        let params: Value = serde_json::from_slice(part("params").unwrap_or(b"{}"))
            .map_err(|_| Denied(400, "params are no JSON".to_owned()))?;
        self.rename(&mut labels, &params)?;
        let reader = self.reader;
        let mut editor =
            LabelEditor::open(self.folder, &case.id, &image.name, reader, &Start::Empty)?;
        let on = editor.revision().to_owned();
        if on != NEW {
            editor.keep_edits_aside(self.now)?;
        }
        let saved = editor.take_in(labels, FROM, &on, self.now)?;
        let id = image_id(case, image);
        Ok(json_of(&json!({"image": id, "label": id, "revision": saved.revision})))
    }

    /// The client numbers its segments as it likes and says their names.
    fn rename(&self, labels: &mut LabelMap, params: &Value) -> Result<(), Denied> {
        let Some(info) = params["label_info"].as_array() else { return Ok(()) };
        let names = self.names();
        let mut table: [u8; 256] = std::array::from_fn(|label| label as u8);
        for segment in info {
            let (name, idx) = (segment["name"].as_str(), segment["idx"].as_u64());
            let (Some(name), Some(idx)) = (name, idx.and_then(|idx| u8::try_from(idx).ok())) else {
                return Err(Denied(
                    400,
                    "label_info needs a name and a number up to 255".to_owned(),
                ));
            };
            let known = names.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let value = known.and_then(|(_, value)| u8::try_from(value.as_u64()?).ok());
            table[usize::from(idx)] = value.ok_or_else(|| {
                let known: Vec<&String> = names.keys().collect();
                Denied(400, format!("segment {name:?} has no label here; there are {known:?}"))
            })?;
        }
        labels.voxels_mut().mapv_inplace(|label| table[usize::from(label)]);
        Ok(())
    }

    fn infer(&self, request: &Request, model: &str, infer: Infer) -> Result<Response, Denied> {
        if !self.models.iter().any(|known| known.id == model) {
            return Err(Denied(404, format!("there is no model {model:?}")));
        }
        let (case, image) = self.named(request, "image")?;
        let made = infer(model, case, image).map_err(|sentence| Denied(500, sentence))?;
        if !made.grid().matches(&image.grid) {
            return Err(Refused::OtherGrid.into());
        }
        let params = json!({"label_names": self.names()}).to_string();
        let name = format!("{}.nii.gz", image_id(case, image));
        let (content_type, body) =
            multipart::compose(("params", &params), ("image", &name, &write_u8(&made)));
        Ok(Response { status: 200, content_type, file_name: None, body })
    }
}

fn word<'a>(request: &'a Request, key: &str) -> Option<&'a str> {
    request.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// How an image is called by clients.
fn image_id(case: &Case, image: &ImageFile) -> String {
    match case.images.len() {
        1 => case.id.clone(),
        _ => format!("{}@{}", case.id, image.name),
    }
}

fn is_gzipped(image: &ImageFile) -> bool {
    let file = image.place().extension();
    image.is_dicom() || file.is_some_and(|end| end.eq_ignore_ascii_case("gz"))
}

/// The client names the file it downloads so, and knows the format by it.
fn file_name(case: &Case, image: &ImageFile) -> String {
    let ending = if is_gzipped(image) { "nii.gz" } else { "nii" };
    format!("{}.{ending}", image_id(case, image))
}

/// `labels:truth` is no tag that a client can put into a file name.
fn tag_of(who: &Who) -> String {
    who.to_string().replace(':', "-")
}

fn json_of(value: &Value) -> Response {
    let body = value.to_string().into_bytes();
    Response { status: 200, content_type: JSON.to_owned(), file_name: None, body }
}

fn file_of(request: &Request, name: String, bytes: Vec<u8>) -> Response {
    let body = if request.method == "HEAD" { Vec::new() } else { bytes };
    Response { status: 200, content_type: BYTES.to_owned(), file_name: Some(name), body }
}

#[cfg(test)]
mod tests;
