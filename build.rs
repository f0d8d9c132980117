//! Tells the tests whether real CT lies beside the checkout: without it they are ignored, and say
//! so, instead of passing with nothing looked at. And packs the page: every file below `web/` goes
//! into the program as it is sent, compressed, with a tag by which a browser knows it again.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

/// What the page consists of; the rest of `web/` is for people.
const SERVED: [&str; 4] = ["html", "css", "js", "svg"];

fn main() {
    println!("cargo:rustc-check-cfg=cfg(no_real_ct)");
    println!("cargo:rerun-if-changed=build.rs");
    let data = "../shared/data";
    if Path::new(data).is_dir() {
        println!("cargo:rerun-if-changed={data}/README.md");
    } else {
        // What comes later is seen once this file is touched: a path that is not there would have
        // everything compiled anew at every build.
        println!("cargo:rustc-cfg=no_real_ct");
    }
    pack_page();
}

fn pack_page() {
    println!("cargo:rerun-if-changed=web");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names a folder"));
    let mut found = Vec::new();
    collect(Path::new("web"), &mut found);
    found.sort();
    let mut table = String::from("&[\n");
    for (number, path) in found.iter().enumerate() {
        let bytes = fs::read(path).expect("a file of the page can be read");
        let packed = out.join(format!("{number}.gz"));
        let gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        let mut gz = gz;
        gz.write_all(&bytes).expect("memory");
        fs::write(&packed, gz.finish().expect("memory")).expect("the folder can be written");
        let tag: String = Sha256::digest(&bytes)[..8].iter().fold(String::new(), |mut tag, byte| {
            let _ = write!(tag, "{byte:02x}");
            tag
        });
        let name = path.strip_prefix("web").expect("below web").display().to_string();
        let _ = writeln!(
            table,
            "Asset {{ name: {name:?}, tag: {tag:?}, gzip: include_bytes!({packed:?}) }},"
        );
    }
    table.push(']');
    fs::write(out.join("page.rs"), table).expect("the folder can be written");
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    println!("cargo:rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder).expect("the folder of the page is there") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| SERVED.iter().any(|served| e == *served)) {
            found.push(path);
        }
    }
}
