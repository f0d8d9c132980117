//! The calls of 3D Slicer's module, one after the other.

use std::fs;
use std::sync::Arc;

use hepalert_voxels::volume::nifti::write::write_i16;
use hepalert_voxels::volume::{Axes, Grid, Orientation, Volume};
use ndarray::Array3;

use super::*;
use crate::cases::stored::readers;
use crate::operation::Operation;

/// Two cases stored LPS, the second of two phases.
fn cohort() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let upright = Grid::axial([2, 3, 4], [5.0, 0.8, 0.7], [0.0; 3]);
    let grid = Arc::new(Axes::to(Orientation::LPS, &upright).grid(&upright));
    let image = write_i16(&Volume::new(grid.clone(), Array3::from_elem([2, 3, 4], 50)));
    let truth = write_u8(&Volume::new(grid, Array3::from_elem([2, 3, 4], 7)));
    for (case, files) in [("p1", &["ct"][..]), ("p2", &["vp", "ap"])] {
        fs::create_dir(dir.path().join(case)).unwrap();
        for name in files {
            fs::write(dir.path().join(case).join(format!("{name}.nii.gz")), &image).unwrap();
        }
    }
    fs::write(dir.path().join("p1/truth.nii.gz"), truth).unwrap();
    dir
}

struct Client<'a> {
    folder: &'a Folder,
    reader: Reader,
}

impl Client<'_> {
    fn call(&self, method: &str, path: &str, query: &[(&str, &str)]) -> Response {
        self.send(method, path, query, ("", &[]))
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        (content_type, body): (&str, &[u8]),
    ) -> Response {
        let query: Vec<(String, String)> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let models = [Model { id: "venous".to_owned(), description: "liver".to_owned() }];
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let service = Service {
            folder: self.folder,
            reader: &self.reader,
            models: &models,
            version: "0",
            now,
        };
        let mut infer = |model: &str, case: &Case, image: &ImageFile| {
            assert_eq!((model, case.id.as_str()), ("venous", "p2"));
            Ok(Volume::new(image.grid.clone(), Array3::from_elem([2, 3, 4], 3)))
        };
        service.answer(&Request { method, path, query: &query, content_type, body }, &mut infer)
    }

    fn json(&self, method: &str, path: &str, query: &[(&str, &str)]) -> Value {
        let answer = self.call(method, path, query);
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap()
    }

    fn put(&self, image: &str, labels: &[u8], params: &str) -> Response {
        let (kind, body) = multipart::compose(("params", params), ("label", "x.nii.gz", labels));
        self.send("PUT", "/datastore/label", &[("image", image)], (&kind, &body))
    }
}

#[test]
fn a_session_of_slicer_goes_through() {
    let dir = cohort();
    let folder = Folder::open(dir.path(), None).unwrap();
    let client = Client { folder: &folder, reader: Reader::new("anna").unwrap() };
    assert_eq!(client.json("GET", "/auth/", &[]), json!({"enabled": false}));
    let info = client.json("GET", "/info/", &[]);
    assert_eq!(info["models"]["venous"]["labels"]["liver"], 7);
    assert_eq!(info["datastore"], json!({"total": 3, "completed": 0}));
    let sample = client.json("POST", "/activelearning/first", &[]);
    assert_eq!(sample, json!({"id": "p1", "name": "p1.nii.gz"}));
    let image = client.call("GET", "/datastore/image", &[("image", "p1")]);
    assert_eq!(image.body, fs::read(dir.path().join("p1/ct.nii.gz")).unwrap());
    assert!(client.call("HEAD", "/datastore/image", &[("image", "p1")]).body.is_empty());
    let listed = client.json("GET", "/datastore/", &[("output", "all")]);
    let tags = listed["objects"]["p1"]["labels"].as_object().unwrap();
    assert_eq!(tags.keys().collect::<Vec<_>>(), ["labels-truth"]);
    let query = [("label", "p1"), ("tag", "original")];
    let label = client.call("GET", "/datastore/label", &query);
    assert_eq!(label.file_name.as_deref(), Some("p1.nii.gz"), "the client fails without a name");
    assert_eq!(label.body, fs::read(dir.path().join("p1/truth.nii.gz")).unwrap());
    // Slicer numbers the segments anew: the names count.
    let mut sent = read_labels(&label.body).unwrap();
    sent.voxels_mut().fill(1);
    sent.voxels_mut()[[1, 0, 3]] = 2;
    let params = r#"{"label_info": [{"name": "Liver", "idx": 1}, {"name": "Meta", "idx": 2}]}"#;
    let put = client.put("p1", &write_u8(&sent), params);
    assert_eq!(put.status, 200, "{}", String::from_utf8_lossy(&put.body));
    let case = folder.case("p1").unwrap();
    let image = case.first_image();
    let kept = labels(&folder, case, image, &"anna".parse().unwrap()).unwrap();
    assert_eq!(kept.stored().voxels()[[1, 0, 3]], 3);
    assert_eq!(kept.map().voxels()[[1, 2, 0]], 3, "RAS");
    assert_eq!(kept.map().voxels().iter().filter(|label| **label == 7).count(), 23);
    assert_eq!(client.json("GET", "/info/", &[])["datastore"]["completed"], 1);
    let next = client.json("POST", "/activelearning/disagreement", &[]);
    assert_eq!(next["id"], "p2@vp");
    let made = client.call("POST", "/infer/venous", &[("image", "p2@ap")]);
    let parts = multipart::parse(&made.content_type, &made.body).unwrap();
    let params: Value = serde_json::from_slice(parts[0].bytes).unwrap();
    assert_eq!(params["label_names"]["Meta"], 3);
    assert_eq!(read_labels(parts[1].bytes).unwrap().voxels()[[0, 0, 0]], 3);
    assert_eq!(client.call("GET", "/train/", &[("check_if_running", "true")]).status, 404);
}

#[test]
fn what_is_replaced_by_slicer_is_not_lost() {
    let dir = cohort();
    let folder = Folder::open(dir.path(), None).unwrap();
    let client = Client { folder: &folder, reader: Reader::new("anna").unwrap() };
    let mut editor = LabelEditor::open(&folder, "p1", "ct", &client.reader, &Start::Usual).unwrap();
    let paint = Operation::Paint { runs: vec![[0, 0, 0, 2]], label: 1, over: None };
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    let saved = editor.edit(&paint, NEW, now).unwrap();
    let truth = fs::read(dir.path().join("p1/truth.nii.gz")).unwrap();
    for _ in 0..2 {
        assert_eq!(client.put("p1", &truth, "{}").status, 200);
    }
    let case = folder.case("p1").unwrap();
    let found = readers(&folder, case, case.first_image()).unwrap();
    let aside = Reader::new(&format!("anna.{}", &saved.revision[..8])).unwrap();
    assert_eq!(found.get(&aside), Some(&saved.revision), "{found:?}");
    assert_eq!(found.len(), 2);
    assert_eq!(editor.edit(&paint, &saved.revision, now).unwrap_err().code(), "labels_changed");
}

#[test]
fn bad_calls_are_answered_with_a_status() {
    let dir = cohort();
    let folder = Folder::open(dir.path(), None).unwrap();
    let client = Client { folder: &folder, reader: Reader::new("anna").unwrap() };
    let status = |method, path, query: &[_]| client.call(method, path, query).status;
    for path in ["/", "/nothing", "/datastore/image/../../etc/passwd", "/train/", "/session/"] {
        assert_eq!(status("GET", path, &[]), 404, "{path}");
    }
    assert_eq!(status("GET", "/datastore/image", &[("image", "../p1")]), 404);
    assert_eq!(status("GET", "/datastore/label", &[("label", "p2@vp"), ("tag", "")]), 404);
    assert_eq!(status("GET", "/datastore/label", &[("label", "p1"), ("tag", "../truth")]), 404);
    assert_eq!(status("POST", "/activelearning/random", &[]), 404);
    assert_eq!(status("POST", "/infer/other", &[("image", "p1")]), 404);
    assert_eq!(status("PUT", "/datastore/label", &[("image", "p1")]), 400);
    let truth = fs::read(dir.path().join("p1/truth.nii.gz")).unwrap();
    assert_eq!(client.put("p1", &truth[..30], "{}").status, 400);
    assert_eq!(client.put("p1", &truth, "{").status, 400);
    let unknown = r#"{"label_info": [{"name": "kidney", "idx": 7}]}"#;
    let refused = client.put("p1", &truth, unknown);
    assert!(refused.status == 400 && String::from_utf8_lossy(&refused.body).contains("kidney"));
    let too_high = r#"{"label_info": [{"name": "liver", "idx": 256}]}"#;
    assert_eq!(client.put("p1", &truth, too_high).status, 400);
    let other =
        Volume::new(Arc::new(Grid::axial([1, 1, 1], [1.0; 3], [0.0; 3])), Array3::zeros([1; 3]));
    let refused = client.put("p1", &write_u8(&other), "{}");
    assert!(refused.status == 400);
    let said = String::from_utf8_lossy(&client.put("p1", &truth[..30], "{}").body).into_owned();
    assert!(!said.contains('/'), "no path is told: {said}");
    assert_eq!(client.json("GET", "/info/", &[])["datastore"]["completed"], 0);
}
