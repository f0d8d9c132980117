//! A packed engine, and its signatures: everything before a key is found good.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    use hepalert_engines::bundle::{Bundle, package::Package, signature::Trust};
    let Ok(nobody) = Trust::read(std::path::Path::new("corpus/keys"), 1) else { return };
    let _ = Package::read(bytes, bytes.len() as u64, &nobody);
    let _ = nobody.verify(b"manifest", &String::from_utf8_lossy(bytes));
    let folder = std::env::temp_dir().join(format!("hepalert-fuzz-{}", std::process::id()));
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("manifest.json"), bytes));
    if written.is_ok() {
        let _ = Bundle::open(&folder);
    }
});
