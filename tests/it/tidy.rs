//! The house keeps its shape: imports point one way, files and functions stay small.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The crates of the workspace and which of the others each may use, from the bottom up.
const CRATES: [(&str, &[&str]); 13] = [
    ("voxels", &[]),
    ("study", &["voxels"]),
    ("failpoint", &[]),
    ("register", &["voxels", "study"]),
    ("native", &[]),
    ("engines", &["voxels", "study", "native"]),
    ("bundles", &["voxels", "study", "failpoint", "engines"]),
    ("cascade", &["voxels", "study", "engines", "bundles", "register"]),
    ("lab", &["voxels", "study", "cascade"]),
    ("phases", &["voxels", "study", "engines", "bundles"]),
    ("pictures", &["voxels", "cascade", "phases"]),
    ("evidence", &["voxels", "study"]),
    ("labels", &["voxels", "study", "evidence", "failpoint"]),
];
/// The layers within a crate from top to bottom; a module imports only from layers below its own,
/// and from itself. Modules of one layer never import each other. `study`, `native`, `engines`,
/// `bundles` and `labels` are one room each.
const LAYERS: [&[&str]; 27] = [
    &["main"],
    &["cli"],
    &["support_bundle"],
    &["doctor", "demo", "curate", "archive", "fleet"],
    &["daemon"],
    &["web"],
    &["analyze", "installer"],
    &["codes"],
    &["intake", "store", "publish", "report", "worker", "config", "pipeline", "study"],
    // `voxels`
    &["ct"],
    &[
        "segment",
        "detect",
        "reclassify",
        "verdict",
        "phantom",
        "evaluate",
        "anatomy",
        "image",
        "dicom",
    ],
    &["volume", "system", "ui", "pem"],
    // `pictures`
    &["findings", "checkerboard", "contact"],
    &["canvas"],
    // `evidence`
    &["document", "deidentified"],
    &["capture", "segmentation", "structured"],
    &["samples"],
    &["maker", "source", "finding"],
    &["code"],
    &["dataset"],
    // `register`
    &["align"],
    &["matching", "quality", "isotropic", "map"],
    &["deform"],
    &["messages", "warp"],
    &["parabola", "field", "tree"],
    &["cost", "affine", "descriptor"],
    &["lattice"],
];
const MAX_CODE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 70;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The `src` folders: the program's own and one per crate.
fn homes() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = std::fs::read_dir(root.join("crates")).unwrap();
    let mut homes: Vec<_> = crates.map(|entry| entry.unwrap().path().join("src")).collect();
    homes.push(root.join("src"));
    homes
}

pub(crate) fn all_sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for home in homes() {
        sources(&home, &mut found);
    }
    found.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read_to_string(path).unwrap());
    found.into_iter().map(read).collect()
}

/// The first folder or file name below `src`.
fn room(path: &Path) -> String {
    let below = homes().iter().find_map(|home| path.strip_prefix(home).ok()).unwrap().to_owned();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The code without comments and without the test module at its end.
fn shipped(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let kept = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    kept.collect::<Vec<_>>().join("\n")
}

/// Every `crate::name` in the text.
fn imports(code: &str) -> BTreeSet<String> {
    let names = code.split("crate::").skip(1).flat_map(|rest| {
        let group = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
        let list: Vec<&str> = match group {
            Some(group) => group.split(',').collect(),
            None => vec![rest],
        };
        list.into_iter()
            .map(|item| {
                item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
            })
            .collect::<Vec<String>>()
    });
    names.filter(|name| name.chars().next().is_some_and(char::is_lowercase)).collect()
}

fn within(name: &str, path: &Path) -> bool {
    path.starts_with(Path::new(env!("CARGO_MANIFEST_DIR")).join("crates").join(name))
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn crates_use_only_crates_below() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), CRATES.len(), "a crate has no layer");
    for (name, below) in CRATES {
        let manifest = std::fs::read_to_string(root.join(name).join("Cargo.toml")).unwrap();
        // Tests may use what lies above: a patient whose liver is known to register, say.
        let shipped = manifest.split("[dev-dependencies]").next().unwrap();
        let used = shipped.lines().filter_map(|line| line.strip_prefix("hepalert-"));
        for used in used.map(|line| line.split(['.', ' ']).next().unwrap()) {
            assert!(below.contains(&used), "{name} uses {used}");
        }
    }
}

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for (path, text) in all_sources() {
        let own = room(&path);
        let one_room = ["study", "native", "engines", "bundles", "labels"];
        if own == "lib" || one_room.iter().any(|name| within(name, &path)) {
            continue;
        }
        for import in imports(&shipped(&text)) {
            let allowed = match (layer(&own), layer(&import)) {
                _ if import == own => true,
                (Some(from), Some(to)) => from < to,
                _ => false,
            };
            if !allowed {
                wrong.push(format!("{}: {own} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The names of a module below its home: `a/b.rs` and `a/b/mod.rs` are both `[a, b]`.
fn module(home: &Path, path: &Path) -> Vec<String> {
    let below = path.strip_prefix(home).unwrap().with_extension("");
    let names = below.components().map(|part| part.as_os_str().to_str().unwrap().to_owned());
    names.filter(|name| !["mod", "lib", "main"].contains(&name.as_str())).collect()
}

/// Every module path that stands right behind one of `code`'s `crate::`: `a::b::Type` is `[a, b]`,
/// `a::{b, c::Type}` is `[a, b]` and `[a, c]`.
fn module_paths(code: &str) -> Vec<Vec<String>> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let is_module = |name: &str| name.starts_with(|c: char| c.is_lowercase() || c == '_');
    let mut found = Vec::new();
    for mut rest in code.split("crate::").skip(1) {
        let mut path = Vec::new();
        while is_module(&word(rest)) {
            let name = word(rest);
            let after = &rest.trim_start()[name.len()..];
            path.push(name);
            let Some(after) = after.strip_prefix("::") else { break };
            rest = after;
        }
        if let Some(group) = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()) {
            for item in group.split(',') {
                let inner: Vec<String> =
                    item.split("::").map(word).take_while(|name| is_module(name)).collect();
                found.push(path.iter().cloned().chain(inner).collect());
            }
        }
        found.push(path);
    }
    found
}

/// The modules that `own`'s code names, by `crate::` or by any number of `super::`, each as exactly as
/// it is named: what follows the last module of a path is an item.
fn neighbours(
    own: &[String],
    code: &str,
    known: &BTreeMap<Vec<String>, String>,
) -> BTreeSet<Vec<String>> {
    let mut found = module_paths(code);
    let mut rest = code;
    while let Some(start) = rest.find("super::") {
        let mut up = 0;
        rest = &rest[start..];
        while let Some(after) = rest.strip_prefix("super::") {
            (rest, up) = (after, up + 1);
        }
        let base = &own[..own.len().saturating_sub(up)];
        let paths = module_paths(&format!("crate::{}", rest.split(';').next().unwrap()));
        found.extend(paths.into_iter().map(|path| [base, &path].concat()));
    }
    let exact = |mut path: Vec<String>| {
        while !path.is_empty() && !known.contains_key(&path) {
            path.pop();
        }
        path
    };
    found.into_iter().map(exact).collect()
}

/// Within a room too: of two files that name each other neither can be read first.
#[test]
fn no_files_import_each_other_in_a_circle() {
    for home in homes() {
        let mut paths = Vec::new();
        sources(&home, &mut paths);
        let code = |path: &PathBuf| shipped(&std::fs::read_to_string(path).unwrap());
        let modules: BTreeMap<Vec<String>, String> = paths
            .iter()
            .filter(|path| !is_test(path))
            .map(|path| (module(&home, path), code(path)))
            .collect();
        let mut open: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
        for (own, code) in &modules {
            let mut named = neighbours(own, code, &modules);
            named.retain(|name| !name.is_empty() && !name.starts_with(own));
            open.insert(own, named);
        }
        // Who needs nobody that is still open is no part of a circle.
        loop {
            let names: BTreeSet<Vec<String>> = open.keys().map(|own| (*own).clone()).collect();
            open.retain(|_, named| named.iter().any(|name| names.contains(name)));
            if open.len() == names.len() {
                break;
            }
        }
        assert!(open.is_empty(), "{}: a circle among {:?}", home.display(), open.keys());
    }
}

#[test]
fn the_numeric_core_has_no_clock_files_or_logs() {
    let forbidden = ["std::fs", "std::time", "Instant::now", "log::", "serde", "rand::rng()"];
    let core = ["voxels", "study", "native", "register", "cascade", "phases"];
    let mut wrong = Vec::new();
    for (path, text) in all_sources() {
        // `pipeline` times its stages; below it there is no clock.
        let core = core.iter().any(|name| within(name, &path)) && room(&path) != "pipeline";
        let numeric = core || room(&path) == "phantom";
        if !numeric {
            continue;
        }
        let code = shipped(&text);
        // Words may be written down, voxels never: no type of `voxels` is `Serialize`, so none of
        // `study` that holds them can be.
        let allowed = |word: &str| word == "serde" && within("study", &path);
        for word in forbidden.iter().filter(|word| code.contains(**word) && !allowed(word)) {
            wrong.push(format!("{}: {word}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_and_functions_stay_small() {
    let mut wrong = Vec::new();
    for (path, text) in all_sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let code = shipped(&text);
        let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
        if lines > MAX_CODE_LINES {
            wrong.push(format!("{}: {lines} lines of code", path.display()));
        }
        wrong.extend(long_functions(&code).map(|name| format!("{}: {name}", path.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Files that hold tests only: their modules are declared under `#[cfg(test)]`.
fn is_test(path: &Path) -> bool {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    name.ends_with("tests") || path.parent().is_some_and(|p| p.ends_with("tests"))
}

/// Functions of more than the allowed lines, found by rustfmt's indentation.
fn long_functions(code: &str) -> impl Iterator<Item = String> + '_ {
    let lines: Vec<&str> = code.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let starts = lines.iter().enumerate().filter(|(_, line)| {
        let mut words = line.split_whitespace();
        let before = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
        words.find(|word| !before.contains(word)) == Some("fn")
    });
    let long = starts.filter_map(|(at, line)| {
        let close = format!("{}}}", " ".repeat(indent(line)));
        let length = lines[at..].iter().position(|line| *line == close)? + 1;
        (length > MAX_FUNCTION_LINES).then(|| format!("{} ({length} lines)", line.trim()))
    });
    long.collect::<Vec<_>>().into_iter()
}

/// Places that the campaign does not pass, and the file with the test that dies there.
const OTHER_PLACES: [(&str, &str); 14] = [
    ("object_sent", "tests/it/pacs.rs"),
    ("unpacked", SLOTS),
    ("slot_emptied", SLOTS),
    ("slot_removed", SLOTS),
    ("slot_filled", SLOTS),
    ("slot_recorded", SLOTS),
    ("test_begun", SLOTS),
    ("test_recorded", SLOTS),
    ("activated", SLOTS),
    ("state_written", SLOTS),
    ("state_renamed", SLOTS),
    ("labels_drafted", "tests/it/labels.rs"),
    ("labels_placed", "tests/it/labels.rs"),
    ("labels_history_written", "tests/it/labels.rs"),
];
const SLOTS: &str = "crates/bundles/src/slots/tests/crash.rs";

#[test]
fn every_place_where_the_program_may_die_is_in_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = BTreeSet::new();
    for (_, text) in all_sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let code = shipped(&text);
        let places = code.split("failpoint(\"").skip(1).filter_map(|rest| rest.split('"').next());
        named.extend(places.map(str::to_owned));
    }
    let other = OTHER_PLACES.map(|(place, _)| place);
    let known: BTreeSet<String> =
        crate::campaign::PLACES.into_iter().chain(other).map(str::to_owned).collect();
    assert_eq!(named, known);
    for (place, file) in OTHER_PLACES {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(&format!("\"{place}")), "{place} is not in {file}");
    }
}

#[test]
fn unsafe_stays_in_its_room() {
    for (path, text) in all_sources() {
        // bf16 products: an instruction of its own, entered in one file that argues each place.
        let allowed = path.components().any(|part| part.as_os_str() == "tensorrt")
            || path.ends_with("native/src/half.rs");
        let found = shipped(&text).lines().any(|line| line.contains("unsafe {"));
        assert!(allowed || !found, "{}", path.display());
    }
}

#[test]
fn every_module_says_what_it_is() {
    for (path, text) in all_sources() {
        assert!(text.starts_with("//!"), "{} has no head", path.display());
        assert!(!text.contains("Being written"), "{} is a stub", path.display());
    }
}
