//! Packed bundles as they come: sound, cut, changed, lying, signed by nobody or by others;
//! and whatever a random hand makes of them.

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use jiff::civil::date;
use proptest::prelude::*;
use serde_json::json;

use super::package::{Package, PackageError, pack};
use super::signature::{SIGNATURES, Trust};
use super::signing::{self, Keys};
use super::terms::Device;
use super::tests::bundle;
use super::*;
use crate::engine::backend::Backend;

/// A maker with a key, a device that trusts it, and a packed, signed, tiny engine.
struct Desk {
    folder: tempfile::TempDir,
    keys: Keys,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk { folder: tempfile::tempdir().unwrap(), keys: keys() };
        fs::create_dir(desk.at("trusted")).unwrap();
        fs::write(desk.at("trusted/maker.pub"), &desk.keys.public).unwrap();
        desk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn trust(&self) -> Trust {
        Trust::read(&self.at("trusted"), 1).unwrap()
    }

    fn packed(&self) -> PathBuf {
        let out = self.at("tiny.hepengine");
        pack(bundle(|_| {}).path(), &out).unwrap();
        out
    }

    fn signed(&self) -> PathBuf {
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

fn keys() -> Keys {
    signing::keygen(None, "a test").unwrap()
}

fn find(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap()
}

#[test]
fn a_signed_bundle_travels_and_comes_out_as_it_was() {
    let desk = Desk::new();
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
    let desk = Desk::new();
    let first = fs::read(desk.packed()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(first, fs::read(desk.packed()).unwrap());
}

#[test]
fn a_tar_program_can_look_into_it() {
    let desk = Desk::new();
    let Ok(told) = Command::new("tar").arg("tf").arg(desk.signed()).output() else {
        println!("skipped: no tar program");
        return;
    };
    let names = String::from_utf8(told.stdout).unwrap();
    let expected =
        "manifest.json\nmanifest.json.minisig\ntiny.onnx\ntiny_input.f32\ntiny_expected.f32\n";
    assert_eq!(names, expected);
}

/// Both ways: the program's key and signature here, ours there.
#[test]
fn the_minisign_program_agrees() {
    let desk = Desk::new();
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
    let desk = Desk::new();
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
    let desk = Desk::new();
    let refused = Package::open(&desk.packed(), &desk.trust()).err().unwrap();
    assert!(matches!(refused, PackageError::Unsigned), "{refused}");
}

#[test]
fn a_bundle_signed_by_a_stranger_is_refused() {
    let desk = Desk::new();
    let file = desk.packed();
    signing::sign(&file, &keys().secret, None).unwrap();
    let refused = Package::open(&file, &desk.trust()).err().unwrap();
    assert!(matches!(refused, PackageError::Untrusted { .. }), "{refused}");
}

#[test]
fn a_device_that_trusts_nobody_says_where_keys_belong() {
    let desk = Desk::new();
    let trust = Trust::read(&desk.at("nowhere"), 1).unwrap();
    let refused = Package::open(&desk.signed(), &trust).err().unwrap();
    assert!(refused.to_string().contains("nowhere"), "{refused}");
    fs::write(desk.at("trusted/broken.pub"), "not a key").unwrap();
    assert!(matches!(Trust::read(&desk.at("trusted"), 1), Err(PackageError::Key { .. })));
}

#[test]
fn two_of_two_keys_means_two_different_keys() {
    let desk = Desk::new();
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

#[test]
fn a_changed_manifest_is_refused() {
    let refused = Desk::new().refusal(|bytes| {
        let at = find(bytes, "tests only");
        bytes[at] = b'T';
    });
    assert!(matches!(refused, PackageError::Untrusted { .. }), "{refused}");
}

#[test]
fn a_cut_file_is_refused() {
    for left in [0, 100, 512, 3000] {
        let refused = Desk::new().refusal(|bytes| bytes.truncate(left));
        assert!(matches!(refused, PackageError::Truncated), "{left}: {refused}");
    }
    let refused = Desk::new().refusal(|bytes| bytes.truncate(bytes.len() - 1));
    assert!(matches!(refused, PackageError::Truncated), "{refused}");
}

#[test]
fn a_swapped_file_is_refused() {
    let refused = Desk::new().refusal(|bytes| {
        let at = find(bytes, "tiny_expected.f32\0") + 512 + 40;
        bytes[at] ^= 1;
    });
    assert!(matches!(&refused, PackageError::Altered { file } if file == "tiny_expected.f32"));
}

#[test]
fn a_bundle_that_grew_or_has_more_files_is_refused() {
    let refused = Desk::new().refusal(|bytes| bytes.extend([0; 512]));
    assert!(matches!(refused, PackageError::Malformed { .. }), "{refused}");
    // Thousands of entries more.
    let refused = Desk::new().refusal(|bytes| {
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
    let desk = Desk::new();
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

fn by_hand(desk: &Desk, manifest: &[u8]) -> String {
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
    let link = Desk::new().refusal(|bytes| {
        let at = at_header(bytes);
        bytes[at + 156] = b'2';
        bytes[at + 157..at + 168].copy_from_slice(b"/etc/shadow");
        reseal(bytes, at);
    });
    assert!(matches!(link, PackageError::Malformed { .. }), "{link}");
    let name = Desk::new().refusal(|bytes| {
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
    let desk = Desk::new();
    for claimed in [1 << 33, 5 << 20] {
        let read = Cell::new(0);
        let head = container::header(MANIFEST, claimed - 1).unwrap();
        let input = Counting { head: &head, read: &read };
        let refused = Package::read(input, u64::MAX, &desk.trust()).err().unwrap();
        assert!(matches!(refused, PackageError::Malformed { .. }), "{refused}");
        assert_eq!(read.get(), 512, "only the header was read");
    }
}

fn device() -> Device {
    Device {
        today: date(2026, 11, 25),
        setting: Some(Setting::Venous),
        backend: Backend::Tract,
        backend_version: None,
        memory_budget_bytes: 2 << 30,
    }
}

/// The demo engine's manifest under these terms.
fn demo(update: serde_json::Value) -> Result<Bundle, EngineError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/venous-demo");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
    manifest["update"] = update;
    Bundle::of_manifest(manifest.to_string().as_bytes())
}

fn misfit(update: serde_json::Value, device: &Device) -> PackageError {
    demo(update).unwrap().fits(device).unwrap_err()
}

#[test]
fn an_engine_without_terms_fits() {
    demo(json!({})).unwrap().fits(&device()).unwrap();
    let last_day = json!({"expires": "2026-11-25", "backends": ["tract"], "tensorrt_min": "99"});
    demo(last_day).unwrap().fits(&device()).unwrap();
}

#[test]
fn an_expired_engine_is_refused() {
    let refused = misfit(json!({"expires": "2026-11-24"}), &device());
    assert!(matches!(refused, PackageError::Expired { .. }), "{refused}");
}

#[test]
fn an_engine_for_other_devices_is_refused() {
    let refused = misfit(json!({"backends": ["tensorrt"]}), &device());
    assert!(matches!(refused, PackageError::WrongDevice { .. }), "{refused}");
    let version = Some("10.3.0".to_owned());
    let jetson = Device { backend: Backend::TensorRt, backend_version: version, ..device() };
    for terms in [json!({"tensorrt_min": "10.7"}), json!({"tensorrt_max": "8.6"})] {
        let refused = misfit(terms, &jetson);
        assert!(matches!(refused, PackageError::WrongDevice { .. }), "{refused}");
    }
    let range = json!({"tensorrt_min": "8.6", "tensorrt_max": "10.3"});
    demo(range).unwrap().fits(&jetson).unwrap();
}

#[test]
fn an_engine_with_other_phases_or_classes_is_refused() {
    let other = Device { setting: Some(Setting::Diagnosis), ..device() };
    let refused = misfit(json!({}), &other);
    assert!(matches!(refused, PackageError::WrongPhases { .. }), "{refused}");
    let tiny = bundle(|_| {});
    let refused = Bundle::open(tiny.path()).unwrap().fits(&other).unwrap_err();
    assert!(matches!(refused, PackageError::WrongClasses { .. }), "{refused}");
}

#[test]
fn an_engine_too_large_for_the_budget_is_refused() {
    let refused = misfit(json!({"memory_mib": 4000}), &device());
    assert!(matches!(refused, PackageError::OverBudget { .. }), "{refused}");
    let refused = misfit(json!({}), &Device { memory_budget_bytes: 1 << 20, ..device() });
    assert!(matches!(refused, PackageError::OverBudget { .. }), "{refused}");
}

#[test]
fn terms_that_are_not_known_are_refused() {
    for terms in [
        json!({"expires": "soon"}),
        json!({"only_on_mondays": true}),
        json!({"backends": ["cuda"]}),
        json!({"tensorrt_min": "ten"}),
    ] {
        assert!(demo(terms.clone()).is_err(), "{terms}");
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
                let desk = Desk::new();
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
