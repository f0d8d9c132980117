//! Tells the tests whether real CT lies beside the checkout: without it they are ignored, and say
//! so, instead of passing with nothing looked at. And packs the page: every file below `web/` goes
//! into the program as it is sent, compressed, with a tag by which a browser knows it again.

use std::fmt::Write as _;
use std::io::{Error, Write as _};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

/// What the page consists of; the rest of `web/` is for people.
const SERVED: [&str; 4] = ["html", "css", "js", "svg"];

fn main() -> io::Result<()> {
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
    pack_page()
}

/// Writes `page.rs`: the table of the page's files, each beside it as gzip.
fn pack_page() -> io::Result<()> {
    let out = env::var_os("OUT_DIR").ok_or_else(|| Error::other("OUT_DIR is not set"))?;
    let out = PathBuf::from(out);
    let mut found = Vec::new();
    collect(Path::new("web"), &mut found)?;
    found.sort();
    let mut table = String::from("&[\n");
    for (number, path) in found.iter().enumerate() {
        let bytes = fs::read(path)?;
        let packed = out.join(format!("{number}.gz"));
        let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        gz.write_all(&bytes)?;
        fs::write(&packed, gz.finish()?)?;
        let mut tag = String::new();
        for byte in &Sha256::digest(&bytes)[..8] {
            let _ = write!(tag, "{byte:02x}");
        }
        let name = path.strip_prefix("web").map_err(Error::other)?.display().to_string();
        let _ = writeln!(
            table,
            "Asset {{ name: {name:?}, tag: {tag:?}, gzip: include_bytes!({packed:?}) }},"
        );
    }
    table.push(']');
    fs::write(out.join("page.rs"), table)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo:rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|e| SERVED.iter().any(|served| e == *served)) {
            found.push(path);
        }
    }
    Ok(())
}
