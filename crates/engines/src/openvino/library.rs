//! Where OpenVINO's libraries lie, and loading them.
//!
//! Owns the order of places and the choice among versions. Refuses to go on to the next
//! place when what it found cannot be loaded: a broken installation must show.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Environment variable that names the folder of the libraries; then no other is looked at.
pub(crate) const FOLDER_VARIABLE: &str = "HEPALERT_OPENVINO";
/// The library of OpenVINO's C functions; versions follow as `.2641` or `.2026.4.1`.
const C_LIBRARY: &str = "libopenvino_c.so";
/// Where a folder of Python packages has the libraries.
const IN_PACKAGES: &str = "openvino/libs";
/// Installed beside this program's other files.
const OWN_FOLDER: &str = "/usr/lib/hepalert/openvino";
const SYSTEM_FOLDERS: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/local/lib"];
/// What the makers' archive has below its root.
const IN_ARCHIVE: [&str; 2] = ["runtime/lib/intel64", "runtime/lib/aarch64"];

/// OpenVINO, loaded into this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Library {
    /// As its makers number it, with the build.
    pub version: String,
    /// The file that was loaded.
    pub path: PathBuf,
}

/// Finds and loads the libraries. They stay loaded; later calls find the same.
///
/// # Errors
/// A sentence that says what is missing and what to do.
pub(crate) fn open() -> Result<Library, String> {
    let surroundings = Surroundings::of_process();
    let path = surroundings.find()?;
    // The bindings panic on a library without the functions or with an odd version.
    let loaded = std::panic::catch_unwind(|| {
        openvino_sys::library::load_from(&path)?;
        Ok(openvino::version().build_number)
    });
    match loaded {
        Ok(Ok(version)) => Ok(Library { version, path }),
        Ok(Err(reason)) => Err(reason),
        Err(_) => Err(format!("{}: not a library of OpenVINO 2025.1 or newer", path.display())),
    }
}

/// What of the process's environment decides where to look.
#[derive(Debug, Default)]
struct Surroundings {
    /// [`FOLDER_VARIABLE`].
    folder: Option<PathBuf>,
    /// Root of the makers' archive.
    archive: Option<PathBuf>,
    library_path: Vec<PathBuf>,
    /// Where programs are: a Python beside them has its packages in `../lib`.
    path: Vec<PathBuf>,
    /// Looked at after the above.
    system: Vec<PathBuf>,
}

impl Surroundings {
    fn of_process() -> Surroundings {
        let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let list = |name| -> Vec<PathBuf> {
            let value = variable(name).unwrap_or_default();
            std::env::split_paths(&value).filter(|path| path.is_absolute()).collect()
        };
        let own = std::iter::once(OWN_FOLDER).chain(SYSTEM_FOLDERS);
        Surroundings {
            folder: variable(FOLDER_VARIABLE).map(PathBuf::from),
            archive: variable("INTEL_OPENVINO_DIR").map(PathBuf::from),
            library_path: list("LD_LIBRARY_PATH"),
            path: list("PATH"),
            system: own.map(PathBuf::from).collect(),
        }
    }

    fn find(&self) -> Result<PathBuf, String> {
        if let Some(folder) = &self.folder {
            let found = newest(folder).or_else(|| newest(&folder.join(IN_PACKAGES)));
            return found.ok_or_else(|| {
                format!("{FOLDER_VARIABLE} is {}, which has no {C_LIBRARY}", folder.display())
            });
        }
        self.folders().iter().find_map(|folder| newest(folder)).ok_or_else(|| {
            format!(
                "no {C_LIBRARY} found; install OpenVINO (`pip install openvino` is enough) and \
                 name its folder of libraries in {FOLDER_VARIABLE}"
            )
        })
    }

    fn folders(&self) -> Vec<PathBuf> {
        let archive = self.archive.iter();
        let mut folders: Vec<PathBuf> =
            archive.flat_map(|root| IN_ARCHIVE.map(|below| root.join(below))).collect();
        folders.extend(self.library_path.iter().cloned());
        folders.extend(self.system.iter().cloned());
        for programs in &self.path {
            folders.extend(package_folders(programs).into_iter().map(|p| p.join(IN_PACKAGES)));
        }
        folders
    }
}

/// Folders of Python packages of an interpreter in the folder `programs`.
fn package_folders(programs: &Path) -> Vec<PathBuf> {
    let Some(root) = programs.parent() else { return Vec::new() };
    let mut pythons = names(&root.join("lib"), |name| name.starts_with("python3"));
    pythons.sort();
    let inside = |python: PathBuf| ["site-packages", "dist-packages"].map(|p| python.join(p));
    pythons.into_iter().flat_map(inside).collect()
}

/// The C library of the highest version in `folder`; without a number is newest, since that
/// is a link to the one meant.
fn newest(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join(C_LIBRARY);
    if plain.is_file() {
        return Some(plain);
    }
    names(folder, |name| name.starts_with(C_LIBRARY))
        .into_iter()
        .filter(|path| path.is_file())
        .max_by_key(|path| version(path.file_name().unwrap_or_default()))
}

fn version(name: &OsStr) -> Vec<u64> {
    let name = name.to_string_lossy();
    let numbers = name.trim_start_matches(C_LIBRARY).split('.');
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// Entries of a folder whose names are wanted; none if it cannot be read.
fn names(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        wanted(&name.to_string_lossy())
    };
    entries.map(|entry| entry.path()).filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"not a library").unwrap();
    }

    #[test]
    fn a_wheel_beside_a_python_on_the_path_is_found_by_its_numbered_name() {
        let root = tempfile::tempdir().unwrap();
        let libs = root.path().join("lib/python3.12/site-packages/openvino/libs");
        touch(&libs.join("libopenvino_c.so.2641"));
        touch(&libs.join("libopenvino_c.so.999"));
        touch(&libs.join("libopenvino.so.2641"));
        let around = Surroundings { path: vec![root.path().join("bin")], ..Default::default() };
        assert_eq!(around.find(), Ok(libs.join("libopenvino_c.so.2641")));
    }

    #[test]
    fn the_variable_counts_alone() {
        let root = tempfile::tempdir().unwrap();
        let system = root.path().join("system");
        touch(&system.join("libopenvino_c.so"));
        let named = root.path().join("named");
        let around = Surroundings {
            folder: Some(named.clone()),
            system: vec![system.clone()],
            ..Default::default()
        };
        assert!(around.find().unwrap_err().contains("which has no libopenvino_c.so"));
        touch(&named.join("openvino/libs/libopenvino_c.so.1"));
        assert_eq!(around.find(), Ok(named.join("openvino/libs/libopenvino_c.so.1")));
        let around = Surroundings { folder: None, ..around };
        assert_eq!(around.find(), Ok(system.join("libopenvino_c.so")));
    }

    #[test]
    fn without_any_the_sentence_says_what_to_do() {
        let said = Surroundings::default().find().unwrap_err();
        assert!(said.contains("pip install openvino") && said.contains("HEPALERT_OPENVINO"));
    }

    #[test]
    fn dotted_versions_compare_as_numbers() {
        let root = tempfile::tempdir().unwrap();
        for name in ["2025.4.0", "2026.10.0", "2026.9.1"] {
            touch(&root.path().join(format!("libopenvino_c.so.{name}")));
        }
        assert_eq!(newest(root.path()), Some(root.path().join("libopenvino_c.so.2026.10.0")));
    }
}
