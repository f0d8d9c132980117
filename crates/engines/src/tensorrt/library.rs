//! Where TensorRT, its parser and the shim lie.
//!
//! Owns the search and the sentences that say what is missing and what to do. Refuses to
//! guess: a TensorRT without a shim of its major is not used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::abi::Library;

/// Majors this program can drive, the newest first.
const MAJORS: [u32; 3] = [11, 10, 8];
/// Folder that is looked at before the system's own.
pub(super) const FOLDER: &str = "HEPALERT_TENSORRT";
/// Where a package puts the shim.
const INSTALLED: &str = "/usr/lib/hepalert";

/// An open TensorRT and where it was found.
#[derive(Clone)]
pub(super) struct Found {
    pub library: Arc<Library>,
    /// The library's path, or its name where the system's loader found it.
    pub place: PathBuf,
    /// `trtexec` and libraries beside it are looked for here first.
    pub folder: Option<PathBuf>,
}

/// Opens the newest TensorRT that has its shim; a sentence if there is none.
///
/// Looks in the folder that the environment variable [`FOLDER`] names, then where the
/// system's loader looks.
pub(super) fn find() -> Result<Found, String> {
    let folder = std::env::var_os(FOLDER).map(PathBuf::from);
    find_in(folder.as_deref())
}

/// As [`find`], with the folder given.
pub(super) fn find_in(folder: Option<&Path>) -> Result<Found, String> {
    let mut faults = Vec::new();
    for major in MAJORS {
        for place in candidates("nvinfer", major, folder) {
            if !present(&place) {
                continue;
            }
            match open(&place, major, folder) {
                Ok(library) => {
                    let folder = folder.map(Path::to_owned);
                    return Ok(Found { library: Arc::new(library), place, folder });
                }
                Err(fault) => faults.push(fault),
            }
        }
    }
    match faults.is_empty() {
        false => Err(faults.join("; ")),
        true => Err(format!(
            "libnvinfer.so is not on this machine (looked for TensorRT 11, 10 and 8 in the system's \
             library folders{}); on a Jetson install it with `apt install tensorrt`",
            match folder {
                Some(folder) => format!(" and {}", folder.display()),
                None => format!("; {FOLDER} can name another folder"),
            }
        )),
    }
}

fn open(nvinfer: &Path, major: u32, folder: Option<&Path>) -> Result<Library, String> {
    let name = format!("libhepalert_trt{major}.so");
    let places = shim_places(folder);
    let shim = places.iter().map(|place| place.join(&name)).find(|path| path.is_file());
    let shim = shim.ok_or_else(|| {
        format!(
            "TensorRT {major} is there ({}), but {name} is not; build it on this machine with \
             scripts/trt-shim and put it beside the program or into {INSTALLED}",
            nvinfer.display()
        )
    })?;
    let parsers = candidates("nvonnxparser", major, folder);
    let parser = parsers.iter().find(|path| present(path));
    Library::open(nvinfer, &shim, parser.map(PathBuf::as_path))
}

/// The given folder, the program's own, and the package's.
fn shim_places(folder: Option<&Path>) -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).map(Path::to_owned);
    let given = folder.map(Path::to_owned);
    given.into_iter().chain(beside).chain([PathBuf::from(INSTALLED)]).collect()
}

/// A library of one major: in the folder, then by its bare name for the system's loader.
fn candidates(stem: &str, major: u32, folder: Option<&Path>) -> Vec<PathBuf> {
    let name = format!("lib{stem}.so.{major}");
    let given = folder.map(|folder| folder.join(&name));
    given.into_iter().chain([PathBuf::from(&name)]).collect()
}

/// Whether it can be opened at all; a bare name is asked of the system's loader.
fn present(path: &Path) -> bool {
    if path.components().count() > 1 {
        return path.is_file();
    }
    super::abi::opens(path)
}
