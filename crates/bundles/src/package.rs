//! A packed bundle: one file that travels to a device, and what of it a device believes.
//!
//! Owns the order: the manifest is read and its signatures are checked before anything it
//! says is used; from then on every name and length that may follow is known, and the rest
//! of the file must be exactly that. Refuses with one sentence and a code per reason.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::Path;

use hepalert_study::digest::hex;
use sha2::{Digest, Sha256};

use super::container::{self, Reader, Writer};
use super::refused::PackageError;
use super::signature::{MAX_SIGNATURES_BYTES, SIGNATURES, Trust};
use super::{Bundle, BundleFile, MANIFEST, files, manifest};

/// How a packed bundle's file name ends.
pub const EXTENSION: &str = "hepengine";

/// A packed bundle whose manifest has been read and believed; the files are still to come.
pub struct Package<R> {
    reader: Reader<R>,
    manifest: Vec<u8>,
    signatures: String,
    bundle: Bundle,
    signed_by: usize,
}

impl Package<BufReader<File>> {
    /// Opens `file` and checks its signatures and its length.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn open(file: &Path, trust: &Trust) -> Result<Package<BufReader<File>>, PackageError> {
        let opened = open_at_once(file).map_err(PackageError::Unreadable)?;
        let facts = opened.metadata().map_err(PackageError::Unreadable)?;
        if !facts.is_file() {
            return Err(PackageError::Malformed { reason: "it is not a regular file".to_owned() });
        }
        Package::read(BufReader::new(opened), facts.len(), trust)
    }
}

/// Opens without waiting: a pipe without a writer would be waited for, for ever.
fn open_at_once(file: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags =
        i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).map_err(std::io::Error::other)?;
    OpenOptions::new().read(true).custom_flags(flags).open(file)
}

impl<R: Read> Package<R> {
    /// Reads the manifest of a container that is `length` bytes long, checks its signatures
    /// and then whether the length is what the manifest's files need.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn read(input: R, length: u64, trust: &Trust) -> Result<Package<R>, PackageError> {
        let mut reader = Reader::new(input);
        let manifest = small(&mut reader, MANIFEST, files::MAX_MANIFEST_BYTES)?;
        let signatures = small(&mut reader, SIGNATURES, MAX_SIGNATURES_BYTES)?;
        let signatures = String::from_utf8(signatures)
            .map_err(|_| PackageError::Malformed { reason: format!("{SIGNATURES} is not text") })?;
        let signed_by = trust.verify(&manifest, &signatures)?;
        let bundle = Bundle::of_manifest(&manifest).map_err(PackageError::Manifest)?;
        let foreseen = container_bytes(&manifest, &signatures, &bundle)?;
        if length < foreseen {
            return Err(PackageError::Truncated);
        }
        if length > foreseen {
            let reason = format!("{length} bytes, its manifest needs {foreseen}");
            return Err(PackageError::Malformed { reason });
        }
        Ok(Package { reader, manifest, signatures, bundle, signed_by })
    }

    /// What the manifest says. Its files cannot be opened: they are still in the container.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// How many trusted keys have signed it.
    pub fn signed_by(&self) -> usize {
        self.signed_by
    }

    /// The bytes that the unpacked bundle takes.
    pub fn unpacked_bytes(&self) -> u64 {
        let files = wanted(&self.bundle);
        files.iter().fold(self.manifest.len() as u64, |sum, file| sum.saturating_add(file.bytes()))
    }

    /// Reads all files and checks them, keeping nothing.
    ///
    /// # Errors
    /// [`PackageError::Altered`], [`PackageError::Truncated`] or
    /// [`PackageError::Malformed`].
    pub fn check(mut self) -> Result<Bundle, PackageError> {
        self.each(&mut |_| Ok(Box::new(std::io::sink())))?;
        Ok(self.bundle)
    }

    /// Writes the bundle into the new folder `into`; everything is on the disk when this
    /// returns. On an error the folder holds a part.
    ///
    /// # Errors
    /// As [`Package::check`]; [`PackageError::Unreadable`] if the folder cannot be written.
    pub fn unpack(mut self, into: &Path) -> Result<Bundle, PackageError> {
        let unwritable = PackageError::Unreadable;
        fs::create_dir(into).map_err(unwritable)?;
        self.each(&mut |name| {
            let path = into.join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let file = OpenOptions::new().write(true).create_new(true).open(path)?;
            Ok(Box::new(Synced(file)))
        })?;
        for (name, bytes) in [(SIGNATURES, self.signatures.as_bytes()), (MANIFEST, &self.manifest)]
        {
            write_synced(&into.join(name), bytes).map_err(unwritable)?;
        }
        sync_folders(into).map_err(unwritable)?;
        // Every file was checked as it was written: nothing is read a second time.
        Ok(Bundle { dir: into.to_owned(), ..self.bundle })
    }

    /// Hands every file of the bundle, checked as it is read, to what `open` gives for it.
    fn each(
        &mut self,
        open: &mut dyn FnMut(&str) -> std::io::Result<Box<dyn Sink>>,
    ) -> Result<(), PackageError> {
        for file in wanted(&self.bundle) {
            let altered = || PackageError::Altered { file: file.path().to_owned() };
            if self.reader.claim(file.path())? != file.bytes() {
                return Err(altered());
            }
            let mut sink = open(file.path()).map_err(PackageError::Unreadable)?;
            let mut hash = Sha256::new();
            self.reader.content(file.bytes(), &mut |piece| {
                hash.update(piece);
                sink.write_all(piece).map_err(PackageError::Unreadable)
            })?;
            if hex(&hash.finalize()) != file.sha256() {
                return Err(altered());
            }
            sink.done().map_err(PackageError::Unreadable)?;
        }
        self.reader.end()
    }
}

/// Where an unpacked file goes.
trait Sink: Write {
    /// The file is whole.
    fn done(&mut self) -> std::io::Result<()>;
}

impl Sink for std::io::Sink {
    fn done(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file that is on the disk when it is done.
struct Synced(File);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Synced {
    fn done(&mut self) -> std::io::Result<()> {
        self.0.sync_all()
    }
}

/// A file at the front, before anything is trusted: bounded by what this program allows.
fn small<R: Read>(reader: &mut Reader<R>, name: &str, most: u64) -> Result<Vec<u8>, PackageError> {
    let bytes = reader.claim(name)?;
    if bytes > most {
        let reason = format!("`{name}` claims {bytes} bytes, at most {most} are possible");
        return Err(PackageError::Malformed { reason });
    }
    let mut kept = Vec::new();
    reader.content(bytes, &mut |piece| {
        kept.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(kept)
}

/// The files of a bundle, each once, in the order of the manifest: folds may share one.
fn wanted(bundle: &Bundle) -> Vec<BundleFile> {
    let mut known = BTreeSet::new();
    bundle.files().filter(|file| known.insert(file.path().to_owned())).cloned().collect()
}

fn container_bytes(
    manifest: &[u8],
    signatures: &str,
    bundle: &Bundle,
) -> Result<u64, PackageError> {
    let mut names = BTreeSet::from([MANIFEST, SIGNATURES]);
    let files = wanted(bundle);
    let mut sum = container::END_BYTES
        + container::place_bytes(manifest.len() as u64)
        + container::place_bytes(signatures.len() as u64);
    for file in &files {
        if !names.insert(file.path()) {
            let reason = format!("`{}` cannot be a network's file", file.path());
            return Err(PackageError::Malformed { reason });
        }
        sum = sum.saturating_add(container::place_bytes(file.bytes()));
    }
    Ok(sum)
}

/// Packs the bundle in `dir`, with the signatures beside its manifest if there are any, into
/// `out`, which appears whole or not at all. The same folder makes the same bytes.
///
/// # Errors
/// [`PackageError::Manifest`] if the bundle is not whole, [`PackageError::Malformed`] if a
/// name cannot be packed, [`PackageError::Unreadable`] for the system's refusals.
pub fn pack(dir: &Path, out: &Path) -> Result<Bundle, PackageError> {
    let bundle = Bundle::open(dir).map_err(PackageError::Manifest)?;
    let bytes = files::read_manifest(dir).map_err(PackageError::Manifest)?;
    // Read once: what is packed is what is parsed.
    manifest::parse(&bytes).map_err(PackageError::Manifest)?;
    let signatures = match fs::read(dir.join(SIGNATURES)) {
        Ok(signatures) => signatures,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(PackageError::Unreadable(error)),
    };
    let files = wanted(&bundle);
    for file in &files {
        container::header(file.path(), file.bytes())
            .map_err(|reason| PackageError::Malformed { reason })?;
    }
    replace(out, |draft| {
        let mut writer = Writer::new(draft);
        writer.add(MANIFEST, bytes.len() as u64, &mut &bytes[..])?;
        writer.add(SIGNATURES, signatures.len() as u64, &mut &signatures[..])?;
        for file in &files {
            writer.add(file.path(), file.bytes(), &mut File::open(dir.join(file.path()))?)?;
        }
        writer.end().map(drop)
    })
    .map_err(PackageError::Unreadable)?;
    Ok(bundle)
}

/// The manifest and the signatures at the front of a packed bundle, unchecked: for signing.
///
/// # Errors
/// [`PackageError`] if the file does not begin as a packed bundle does.
pub(super) fn front(file: &Path) -> Result<(Vec<u8>, Vec<u8>), PackageError> {
    let mut reader =
        Reader::new(BufReader::new(open_at_once(file).map_err(PackageError::Unreadable)?));
    let manifest = small(&mut reader, MANIFEST, files::MAX_MANIFEST_BYTES)?;
    let signatures = small(&mut reader, SIGNATURES, MAX_SIGNATURES_BYTES)?;
    Ok((manifest, signatures))
}

/// Puts other signatures into a packed bundle; the rest stays as it is.
pub(super) fn replace_signatures(file: &Path, signatures: &[u8]) -> Result<(), PackageError> {
    let (manifest, old) = front(file)?;
    let skip =
        container::place_bytes(manifest.len() as u64) + container::place_bytes(old.len() as u64);
    replace(file, |draft| {
        let mut writer = Writer::new(&mut *draft);
        writer.add(MANIFEST, manifest.len() as u64, &mut &manifest[..])?;
        writer.add(SIGNATURES, signatures.len() as u64, &mut &signatures[..])?;
        let mut rest = File::open(file)?;
        std::io::Seek::seek(&mut rest, std::io::SeekFrom::Start(skip))?;
        std::io::copy(&mut rest, draft).map(drop)
    })
    .map_err(PackageError::Unreadable)
}

/// Writes a draft beside `out` and renames it there when it is on the disk.
fn replace(
    out: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut draft = tempfile::Builder::new().prefix(".packing-").tempfile_in(folder)?;
    write(draft.as_file_mut())?;
    draft.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    draft.as_file().sync_all()?;
    draft.persist(out)?;
    File::open(folder)?.sync_all()
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A file is there after a power cut only if its folder is on the disk too.
fn sync_folders(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}
