//! Who has signed: the maker, nobody, strangers, two of two; and the minisign program's word.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use super::bundle;
use super::package::{Workbench, keys};
use crate::package::{Package, pack};
use crate::refused::PackageError;
use crate::signature::Trust;
use crate::*;

/// Both ways: the program's key and signature here, ours there.
#[test]
fn the_minisign_program_agrees() {
    let desk = Workbench::new();
    let minisign = |args: &[&str]| {
        let mut command = Command::new("minisign");
        command.args(args).current_dir(desk.folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().ok()?;
        // It asks for the password of a key, and twice for that of a new one; where it asks for
        // none it may be gone before this is written.
        let _ = child.stdin.take().unwrap().write_all(b"wine\nwine\n");
        Some(child.wait_with_output().unwrap())
    };
    if minisign(&["-v"]).is_none() {
        println!("skipped: no minisign program");
        return;
    }
    let source = bundle(|_| {});
    let manifest = source.path().join(MANIFEST);
    signing::sign(source.path(), &desk.keys.secret, None).unwrap();
    let manifest = manifest.to_str().unwrap();
    let checked = minisign(&["-V", "-m", manifest, "-p", "trusted/maker.pub"]).unwrap();
    assert!(checked.status.success(), "{checked:?}");

    let made = minisign(&["-G", "-p", "trusted/theirs.pub", "-s", "theirs.key"]).unwrap();
    assert!(made.status.success(), "{made:?}");
    let signed = minisign(&["-S", "-m", manifest, "-s", "theirs.key"]).unwrap();
    assert!(signed.status.success(), "{signed:?}");
    let out = desk.at("theirs.hepengine");
    pack(source.path(), &out).unwrap();
    assert_eq!(Package::open(&out, &desk.trust()).unwrap().signed_by(), 1);
    // And their key file signs here.
    let secret = fs::read_to_string(desk.at("theirs.key")).unwrap();
    let other = desk.packed();
    signing::sign(&other, &secret, Some("wine")).unwrap();
    Package::open(&other, &desk.trust()).unwrap();
}

#[test]
fn a_key_under_a_password_signs_only_with_it() {
    let desk = Workbench::new();
    let locked = signing::keygen(Some("wine"), "a test").unwrap();
    fs::write(desk.at("trusted/maker.pub"), &locked.public).unwrap();
    let file = desk.packed();
    assert!(signing::sign(&file, &locked.secret, None).is_err());
    assert!(signing::sign(&file, &locked.secret, Some("water")).is_err());
    signing::sign(&file, &locked.secret, Some("wine")).unwrap();
    Package::open(&file, &desk.trust()).unwrap();
}

#[test]
fn an_unsigned_bundle_is_refused() {
    let desk = Workbench::new();
    let refused = Package::open(&desk.packed(), &desk.trust()).err().unwrap();
    assert!(matches!(refused, PackageError::Unsigned), "{refused}");
}

#[test]
fn a_bundle_signed_by_a_stranger_is_refused() {
    let desk = Workbench::new();
    let file = desk.packed();
    signing::sign(&file, &keys().secret, None).unwrap();
    let refused = Package::open(&file, &desk.trust()).err().unwrap();
    assert!(matches!(refused, PackageError::Untrusted { .. }), "{refused}");
}

#[test]
fn a_device_that_trusts_nobody_says_where_keys_belong() {
    let desk = Workbench::new();
    let trust = Trust::read(&desk.at("nowhere"), 1).unwrap();
    let refused = Package::open(&desk.signed(), &trust).err().unwrap();
    assert!(refused.to_string().contains("nowhere"), "{refused}");
    fs::write(desk.at("trusted/broken.pub"), "not a key").unwrap();
    assert!(matches!(Trust::read(&desk.at("trusted"), 1), Err(PackageError::Key { .. })));
}

#[test]
fn two_of_two_keys_means_two_different_keys() {
    let desk = Workbench::new();
    let second = keys();
    // The first key once more under another name, and the second one.
    fs::write(desk.at("trusted/maker-again.pub"), &desk.keys.public).unwrap();
    fs::write(desk.at("trusted/second.pub"), &second.public).unwrap();
    let trust = Trust::read(&desk.at("trusted"), 2).unwrap();
    let file = desk.signed();
    signing::sign(&file, &desk.keys.secret, None).unwrap();
    let refused = Package::open(&file, &trust).err().unwrap();
    let few = matches!(refused, PackageError::TooFewSignatures { found: 1, needed: 2 });
    assert!(few, "{refused}");
    signing::sign(&file, &second.secret, None).unwrap();
    assert_eq!(Package::open(&file, &trust).unwrap().signed_by(), 2);
}
