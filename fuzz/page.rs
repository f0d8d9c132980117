//! What a browser or another program may send to the page: real requests to the server as it is.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use hepalert::config::{Config, Role};
use hepalert::store::Store;
use hepalert::web::{self, AtRest, Handle, PageState};
use hepalert_voxels::volume::nifti::write::{write_i16, write_u8};
use hepalert_voxels::volume::{Grid, Volume};
use jiff::Timestamp;
use ndarray::Array3;
use tempfile::TempDir;

/// Then everything begins anew, so that no history of edits grows without end.
const REQUESTS: usize = 2000;
const JSON: &str = "application/json";
const IMAGE: &str = "/api/v1/label/cases/one/vp";
/// Every request with a body; before them all, what is no request made by us.
const ENDPOINTS: [(&str, &str, &str); 15] = [
    ("POST", "/api/v1/session", JSON),
    ("POST", "/api/v1/engines", "application/octet-stream"),
    ("POST", "/api/v1/engines/use", JSON),
    ("POST", "/api/v1/studies/0123456789abcdef0123456789abcdef/requeue", JSON),
    ("POST", "desk", JSON),
    ("POST", "edit", JSON),
    ("POST", "undo", JSON),
    ("POST", "redo", JSON),
    ("POST", "aside", JSON),
    ("POST", "/api/v1/label/given", JSON),
    ("POST", "/auth/token", "application/x-www-form-urlencoded"),
    ("PUT", "/datastore/label?image=one", "multipart/form-data; boundary=x"),
    ("POST", "/infer/none?image=one", "multipart/form-data; boundary=x"),
    ("POST", "/activelearning/random", JSON),
    ("POST", "/session/", JSON),
];

thread_local! {
    static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) };
}

struct House {
    _folder: TempDir,
    server: Handle,
    asked: usize,
}

impl House {
    /// A page without a login, where everybody may do everything, with one case: a lesion in a liver.
    fn new() -> House {
        let folder = TempDir::new().unwrap();
        let case = folder.path().join("cases/one");
        std::fs::create_dir_all(&case).unwrap();
        let grid = Arc::new(Grid::axial([3, 4, 5], [5.0, 0.8, 0.8], [0.0; 3]));
        let labels = Array3::from_shape_fn([3, 4, 5], |at| match at {
            (_, 1..=2, 1..=2) => 1,
            (2, ..) => 0,
            _ => 7,
        });
        let image = labels.mapv(|label: u8| i16::from(label) * 10);
        std::fs::write(case.join("vp.nii.gz"), write_i16(&Volume::new(grid.clone(), image)))
            .unwrap();
        std::fs::write(case.join("labels.nii.gz"), write_u8(&Volume::new(grid, labels))).unwrap();
        let mut config = Config::default();
        config.store.folder = folder.path().join("state");
        config.engine.trusted_keys = std::path::absolute("fuzz/corpus/keys").unwrap();
        config.web.login = false;
        config.web.open_role = Role::Admin;
        config.web.address = "127.0.0.1:0".to_owned();
        config.web.labels_folder = Some(folder.path().join("cases"));
        std::fs::create_dir_all(&config.store.folder).unwrap();
        let store = Store::open(&config.store.database(), Timestamp::now()).unwrap().store;
        let state =
            PageState::new(config, folder.path(), store, Arc::new(AtRest(Timestamp::UNIX_EPOCH)))
                .unwrap();
        House { _folder: folder, server: web::start(state).unwrap(), asked: 0 }
    }

    /// The whole answer, or what came of it.
    fn ask(&self, request: &[u8], is_whole: bool) -> Vec<u8> {
        let mut line = TcpStream::connect(self.server.address()).expect("it listens");
        let _ = line.set_read_timeout(Some(Duration::from_secs(60)));
        // Whoever is refused early is told all the same.
        let _ = line.write_all(request);
        if !is_whole {
            let _ = line.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = line.read_to_end(&mut answer);
        answer
    }
}

/// The first byte says where the others are sent to as a body; 0, that they are a request of their own.
pub(crate) fn bodies(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    HOUSE.with_borrow_mut(|known| {
        let house = known.get_or_insert_with(House::new);
        house.asked += 1;
        match usize::from(*first) % (ENDPOINTS.len() + 1) {
            0 => drop(house.ask(body, false)),
            number => {
                let (method, path, kind) = ENDPOINTS[number - 1];
                let path = if path.starts_with('/') { path } else { &format!("{IMAGE}/{path}") };
                let mut request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                     Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                )
                .into_bytes();
                request.extend(body);
                let answer = house.ask(&request, true);
                let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.first());
                let shown = String::from_utf8_lossy(&answer);
                assert!(status.is_some_and(|digit| *digit != b'5'), "{method} {path}: {shown}");
            }
        }
        assert!(house.server.is_alive());
        if house.asked >= REQUESTS {
            *known = None;
        }
    });
}
