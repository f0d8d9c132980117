//! Packed bundles as they come: sound, cut, changed, lying; and whatever a random hand makes of
//! them.

use std::cell::Cell;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

use proptest::prelude::*;
use serde_json::json;

use super::bundle;
use crate::package::{Package, pack};
use crate::refused::PackageError;
use crate::signature::{SIGNATURES, Trust};
use crate::signing::{self, Keys};
use crate::*;

/// A maker with a key, a device that trusts it, and a packed, signed, tiny engine.
pub(super) struct Workbench {
    pub(super) folder: tempfile::TempDir,
    pub(super) keys: Keys,
}

impl Workbench {
    pub(super) fn new() -> Workbench {
        let desk = Workbench { folder: tempfile::tempdir().unwrap(), keys: keys() };
        fs::create_dir(desk.at("trusted")).unwrap();
        fs::write(desk.at("trusted/maker.pub"), &desk.keys.public).unwrap();
        desk
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn trust(&self) -> Trust {
        Trust::read(&self.at("trusted"), 1).unwrap()
    }

    pub(super) fn packed(&self) -> PathBuf {
        let out = self.at("tiny.hepengine");
        pack(bundle(|_| {}).path(), &out).unwrap();
        out
    }

    pub(super) fn signed(&self) -> PathBuf {
        let out = self.packed();
        signing::sign(&out, &self.keys.secret, None).unwrap();
        out
    }

    /// The refusal of a signed package after `change` was done to its bytes.
    fn refusal(&self, change: impl FnOnce(&mut Vec<u8>)) -> PackageError {
        let file = self.signed();
        let mut bytes = fs::read(&file).unwrap();
        change(&mut bytes);
        fs::write(&file, bytes).unwrap();
        let into = self.at("unpacked");
        let refused =
            Package::open(&file, &self.trust()).and_then(|p| p.unpack(&into)).unwrap_err();
        let _ = fs::remove_dir_all(into);
        refused
    }
}

pub(super) fn keys() -> Keys {
    signing::keygen(None, "a test").unwrap()
}

fn find(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap()
}

#[test]
fn a_signed_bundle_travels_and_comes_out_as_it_was() {
    let desk = Workbench::new();
    let file = desk.signed();
    let package = Package::open(&file, &desk.trust()).unwrap();
    assert_eq!((package.bundle().id(), package.signed_by()), ("tiny", 1));
    assert!(package.unpacked_bytes() < fs::metadata(&file).unwrap().len());
    let unpacked = package.unpack(&desk.at("unpacked")).unwrap();
    let source = bundle(|_| {});
    for entry in fs::read_dir(source.path()).unwrap() {
        let entry = entry.unwrap();
        let copy = fs::read(unpacked.dir().join(entry.file_name())).unwrap();
        assert_eq!(copy, fs::read(entry.path()).unwrap(), "{:?}", entry.file_name());
    }
    // What came out can be packed again, signatures and all: the same bytes.
    pack(unpacked.dir(), &desk.at("again")).unwrap();
    assert_eq!(fs::read(desk.at("again")).unwrap(), fs::read(file).unwrap());
}

#[test]
fn the_same_folder_makes_the_same_bytes() {
    let desk = Workbench::new();
    let first = fs::read(desk.packed()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(first, fs::read(desk.packed()).unwrap());
}

#[test]
fn a_tar_program_can_look_into_it() {
    let desk = Workbench::new();
    let Ok(told) = Command::new("tar").arg("tf").arg(desk.signed()).output() else {
        println!("skipped: no tar program");
        return;
    };
    let names = String::from_utf8(told.stdout).unwrap();
    let expected =
        "manifest.json\nmanifest.json.minisig\ntiny.onnx\ntiny_input.f32\ntiny_expected.f32\n";
    assert_eq!(names, expected);
}

#[test]
fn a_changed_manifest_is_refused() {
    let refused = Workbench::new().refusal(|bytes| {
        let at = find(bytes, "tests only");
        bytes[at] = b'T';
    });
    assert!(matches!(refused, PackageError::Untrusted { .. }), "{refused}");
}

#[test]
fn a_cut_file_is_refused() {
    for left in [0, 100, 512, 3000] {
        let refused = Workbench::new().refusal(|bytes| bytes.truncate(left));
        assert!(matches!(refused, PackageError::Truncated), "{left}: {refused}");
    }
    let refused = Workbench::new().refusal(|bytes| bytes.truncate(bytes.len() - 1));
    assert!(matches!(refused, PackageError::Truncated), "{refused}");
}

#[test]
fn a_swapped_file_is_refused() {
    let refused = Workbench::new().refusal(|bytes| {
        let at = find(bytes, "tiny_expected.f32\0") + 512 + 40;
        bytes[at] ^= 1;
    });
    assert!(matches!(&refused, PackageError::Altered { file } if file == "tiny_expected.f32"));
}

#[test]
fn a_bundle_that_grew_or_has_more_files_is_refused() {
    let refused = Workbench::new().refusal(|bytes| bytes.extend([0; 512]));
    assert!(matches!(refused, PackageError::Malformed { .. }), "{refused}");
    // Thousands of entries more.
    let refused = Workbench::new().refusal(|bytes| {
        bytes.truncate(bytes.len() - 1024);
        for number in 0..5000 {
            bytes.extend(container::header(&format!("more-{number}"), 0).unwrap());
        }
        bytes.extend([0; 1024]);
    });
    assert!(matches!(refused, PackageError::Malformed { .. }), "{refused}");
}

#[test]
fn a_path_that_leaves_the_folder_is_refused_even_when_signed() {
    let desk = Workbench::new();
    for path in ["../outside.onnx", "/etc/hepalert.onnx", "a/../../b"] {
        let source = bundle(|m| m["networks"]["segment"]["files"][0]["path"] = json!(path));
        signing::sign(source.path(), &desk.keys.secret, None).unwrap_err();
        assert!(pack(source.path(), &desk.at("out")).is_err());
        // By hand then, as an attacker with the key would.
        let manifest = fs::read(source.path().join(MANIFEST)).unwrap();
        let mut writer = container::Writer::new(Vec::new());
        let signature = by_hand(&desk, &manifest);
        writer.add(MANIFEST, manifest.len() as u64, &mut &manifest[..]).unwrap();
        writer.add(SIGNATURES, signature.len() as u64, &mut signature.as_bytes()).unwrap();
        let bytes = writer.end().unwrap();
        let refused = Package::read(&bytes[..], bytes.len() as u64, &desk.trust()).err().unwrap();
        assert!(matches!(refused, PackageError::Manifest(_)), "{refused}");
        assert!(refused.to_string().contains("inside the bundle"), "{refused}");
    }
}

fn by_hand(desk: &Workbench, manifest: &[u8]) -> String {
    let boxed = minisign::SecretKeyBox::from_string(&desk.keys.secret).unwrap();
    let key = boxed.into_unencrypted_secret_key().unwrap();
    minisign::sign(None, &key, manifest, Some("x"), None).unwrap().to_string()
}

#[test]
fn a_link_or_another_name_in_the_container_is_refused() {
    let at_header = |bytes: &[u8]| find(bytes, "tiny.onnx\0");
    let reseal = |bytes: &mut Vec<u8>, at: usize| {
        bytes[at + 148..at + 156].copy_from_slice(b"        ");
        let sum: u32 = bytes[at..at + 512].iter().map(|&byte| u32::from(byte)).sum();
        bytes[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    };
    let link = Workbench::new().refusal(|bytes| {
        let at = at_header(bytes);
        bytes[at + 156] = b'2';
        bytes[at + 157..at + 168].copy_from_slice(b"/etc/shadow");
        reseal(bytes, at);
    });
    assert!(matches!(link, PackageError::Malformed { .. }), "{link}");
    let name = Workbench::new().refusal(|bytes| {
        let at = at_header(bytes);
        bytes[at..at + 4].copy_from_slice(b"../x");
        reseal(bytes, at);
    });
    assert!(matches!(name, PackageError::Malformed { .. }), "{name}");
}

/// Counts what is read of an endless stream of zeros behind a head.
struct Counting<'a> {
    head: &'a [u8],
    read: &'a Cell<u64>,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.head.len().min(buffer.len());
        if count > 0 {
            buffer[..count].copy_from_slice(&self.head[..count]);
            self.head = &self.head[count..];
        } else {
            buffer.fill(0);
        }
        let count = if count > 0 { count } else { buffer.len() };
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}

#[test]
fn a_length_that_lies_is_refused_before_it_is_read() {
    let desk = Workbench::new();
    for claimed in [1 << 33, 5 << 20] {
        let read = Cell::new(0);
        let head = container::header(MANIFEST, claimed - 1).unwrap();
        let input = Counting { head: &head, read: &read };
        let refused = Package::read(input, u64::MAX, &desk.trust()).err().unwrap();
        assert!(matches!(refused, PackageError::Malformed { .. }), "{refused}");
        assert_eq!(read.get(), 512, "only the header was read");
    }
}

/// One thing that a random hand does to a packed bundle.
#[derive(Debug, Clone)]
enum Harm {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Digits(u64),
}

fn harm() -> impl Strategy<Value = Harm> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), 1..=255_u8).prop_map(|(at, bits)| Harm::Flip(at, bits)),
        1 => index().prop_map(Harm::Cut),
        1 => (index(), prop::collection::vec(any::<u8>(), 1..700)).prop_map(|(at, b)| Harm::Insert(at, b)),
        1 => (index(), 1..700_usize).prop_map(|(at, count)| Harm::Remove(at, count)),
        1 => (0..1_u64 << 33).prop_map(Harm::Digits),
    ]
}

fn do_harm(bytes: &mut Vec<u8>, harm: &Harm) {
    if bytes.is_empty() {
        return;
    }
    match harm {
        Harm::Flip(at, bits) => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Harm::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Harm::Insert(at, more) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, more.iter().copied());
        }
        Harm::Remove(at, count) => {
            let at = at.index(bytes.len());
            bytes.drain(at..(at + count).min(bytes.len()));
        }
        Harm::Digits(claimed) => {
            let head = container::header(MANIFEST, *claimed).unwrap();
            let count = head.len().min(bytes.len());
            bytes[..count].copy_from_slice(&head[..count]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Any harm at any place is refused in words. Free are only the comments and line ends of
    /// a signature that nobody has signed.
    #[test]
    fn whatever_is_done_to_a_package_it_is_refused(harms in prop::collection::vec(harm(), 1..4)) {
        thread_local! {
            static SOUND: (Vec<u8>, Trust) = {
                let desk = Workbench::new();
                (fs::read(desk.signed()).unwrap(), desk.trust())
            };
        }
        SOUND.with(|(sound, trust)| {
            let mut bytes = sound.clone();
            harms.iter().for_each(|harm| do_harm(&mut bytes, harm));
            let checked = Package::read(&bytes[..], bytes.len() as u64, trust).and_then(Package::check);
            // A removed zero among zeros, or the same length again, changes nothing. An
            // untrusted comment and empty lines of a signature are nobody's word.
            let same = checked.is_ok() && bytes != *sound;
            let comment = same && {
                let at = find(sound, "untrusted comment");
                sound.iter().zip(&bytes).enumerate().all(|(i, (a, b))| a == b || (at..at + 200).contains(&i))
            };
            prop_assert!(!same || comment, "a changed container was taken");
            Ok(())
        })?;
    }
}
