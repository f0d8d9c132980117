//! Plans that were built on this device, kept for the next start.
//!
//! A plan fits one network, one TensorRT, one kind of GPU. Owns the file that says which, the
//! check of every byte before TensorRT sees it (it does not notice a flipped weight), and
//! the bounds on size and number. Refuses to trust: what does not fit or is not whole is
//! built again.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The first line of a file, and its format's version.
const MAGIC: &str = "hepalert-plan 1";
/// ONNX ends at 2 GiB and a plan holds the same weights; kernels take some more.
pub(super) const MAX_PLAN_BYTES: u64 = 3 << 30;
/// Timing caches of a few networks have a few MiB.
const MAX_TIMING_BYTES: u64 = 256 << 20;
/// The head is five short lines.
const MAX_HEAD_BYTES: usize = 4096;
/// Two slots of two networks with five folds in two precisions; older plans go.
const MAX_PLANS: usize = 40;

/// Everything a plan depends on, as one line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// Of named facts; names and values hold no newline.
    pub(super) fn new(facts: &[(&str, String)]) -> Key {
        let facts: Vec<String> = facts
            .iter()
            .map(|(name, value)| format!("{name}={}", value.replace(['\n', '\r', ';'], " ")))
            .collect();
        Key(facts.join("; "))
    }

    /// The facts.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The file's name, `extension` included.
    fn file(&self, extension: &str) -> String {
        format!("{}.{extension}", &sha256(self.0.as_bytes())[..32])
    }
}

/// What was found for a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CachedPlan {
    /// Whole, and of this key.
    Whole(Vec<u8>),
    /// Nothing of it is there.
    Nothing,
    /// A file that cannot be used, and why.
    Spoilt(String),
}

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Plans below `cache`.
    pub(super) fn in_folder(cache: &Path) -> Cache {
        Cache { folder: cache.join("tensorrt") }
    }

    /// Where the plan of `key` lies or would lie.
    pub(super) fn plan_path(&self, key: &Key) -> PathBuf {
        self.folder.join(key.file("plan"))
    }

    /// The plan of `key`, if it is whole.
    pub(super) fn plan(&self, key: &Key) -> CachedPlan {
        read(&self.plan_path(key), key, MAX_PLAN_BYTES)
    }

    /// What earlier builds of this device measured; empty if there is nothing usable, which
    /// only makes the next build longer.
    pub(super) fn timing(&self, key: &Key) -> Vec<u8> {
        match read(&self.folder.join(key.file("timing")), key, MAX_TIMING_BYTES) {
            CachedPlan::Whole(bytes) => bytes,
            CachedPlan::Nothing | CachedPlan::Spoilt(_) => Vec::new(),
        }
    }

    /// Keeps a plan; the oldest go when there are too many.
    pub(super) fn keep_plan(&self, key: &Key, plan: &[u8]) -> io::Result<()> {
        if plan.len() as u64 > MAX_PLAN_BYTES {
            return Err(io::Error::other("the plan is larger than any of ours"));
        }
        fs::create_dir_all(&self.folder)?;
        write(&self.plan_path(key), key, plan)?;
        self.prune()
    }

    /// Keeps what a build measured.
    pub(super) fn keep_timing(&self, key: &Key, timing: &[u8]) -> io::Result<()> {
        if timing.is_empty() || timing.len() as u64 > MAX_TIMING_BYTES {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        write(&self.folder.join(key.file("timing")), key, timing)
    }

    /// Forgets the plan of `key`.
    pub(super) fn forget(&self, key: &Key) -> io::Result<()> {
        match fs::remove_file(self.plan_path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn prune(&self) -> io::Result<()> {
        let mut plans = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "plan") {
                plans.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        plans.sort();
        for (_, path) in plans.iter().take(plans.len().saturating_sub(MAX_PLANS)) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn head(key: &Key, content: &[u8]) -> String {
    format!("{MAGIC}\n{}\nbytes {}\nsha256 {}\n\n", key.text(), content.len(), sha256(content))
}

/// Whole or not at all: a temporary file, flushed, then renamed.
fn write(path: &Path, key: &Key, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(head(key, content).as_bytes())?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

fn read(path: &Path, key: &Key, most: u64) -> CachedPlan {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return CachedPlan::Nothing,
        Err(error) => return CachedPlan::Spoilt(error.to_string()),
    };
    match content(file, key, most) {
        Ok(content) => CachedPlan::Whole(content),
        Err(error) => CachedPlan::Spoilt(error.to_string()),
    }
}

/// The length is compared before anything is allocated for it.
fn content(mut file: File, key: &Key, most: u64) -> io::Result<Vec<u8>> {
    let spoilt = |reason: &str| io::Error::other(reason.to_owned());
    let length = file.metadata()?.len();
    if length > most + MAX_HEAD_BYTES as u64 {
        return Err(spoilt("it is larger than any of ours"));
    }
    let mut start = vec![0; MAX_HEAD_BYTES.min(usize::try_from(length).unwrap_or(0))];
    file.read_exact(&mut start)?;
    let end = start.windows(2).position(|two| two == b"\n\n");
    let end = end.ok_or_else(|| spoilt("it has no head"))? + 2;
    let text = String::from_utf8_lossy(&start[..end]).into_owned();
    let mut content = start.split_off(end);
    file.take(most).read_to_end(&mut content)?;
    if !text.starts_with(&format!("{MAGIC}\n")) {
        return Err(spoilt("it is of another format"));
    }
    if text.lines().nth(1) != Some(key.text()) {
        return Err(spoilt("it was built for something else"));
    }
    if text != head(key, &content) {
        return Err(spoilt("its SHA-256 is not the one it was written with"));
    }
    Ok(content)
}

/// In lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hepalert_study::digest::Digest::of(bytes).hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(capability: &str) -> Key {
        Key::new(&[("onnx", "ab12".to_owned()), ("capability", capability.to_owned())])
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::in_folder(folder.path());
        (folder, cache)
    }

    #[test]
    fn a_plan_is_found_again_and_only_by_its_own_key() {
        let (_folder, cache) = cache();
        assert_eq!(cache.plan(&key("8.7")), CachedPlan::Nothing);
        cache.keep_plan(&key("8.7"), b"plan\n\nwith lines").unwrap();
        assert_eq!(cache.plan(&key("8.7")), CachedPlan::Whole(b"plan\n\nwith lines".to_vec()));
        assert_eq!(cache.plan(&key("11.0")), CachedPlan::Nothing);
        cache.forget(&key("8.7")).unwrap();
        cache.forget(&key("8.7")).unwrap();
        assert_eq!(cache.plan(&key("8.7")), CachedPlan::Nothing);
    }

    #[test]
    fn no_single_byte_can_be_flipped_unnoticed() {
        let (_folder, cache) = cache();
        cache.keep_plan(&key("8.7"), b"weights").unwrap();
        let path = cache.plan_path(&key("8.7"));
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 0x10;
            fs::write(&path, &spoilt).unwrap();
            assert!(matches!(cache.plan(&key("8.7")), CachedPlan::Spoilt(_)), "byte {at}");
        }
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(cache.plan(&key("8.7")), CachedPlan::Spoilt(_)), "cut to {length}");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(matches!(cache.plan(&key("8.7")), CachedPlan::Spoilt(_)), "one byte more");
    }

    #[test]
    fn a_plan_renamed_to_another_key_is_not_taken() {
        let (_folder, cache) = cache();
        cache.keep_plan(&key("8.7"), b"weights").unwrap();
        fs::rename(cache.plan_path(&key("8.7")), cache.plan_path(&key("11.0"))).unwrap();
        let CachedPlan::Spoilt(reason) = cache.plan(&key("11.0")) else { panic!("it was taken") };
        assert_eq!(reason, "it was built for something else");
    }

    #[test]
    fn the_folder_does_not_grow_for_ever() {
        let (folder, cache) = cache();
        for n in 0..MAX_PLANS + 5 {
            cache.keep_plan(&key(&n.to_string()), b"weights").unwrap();
        }
        let kept = fs::read_dir(folder.path().join("tensorrt")).unwrap().count();
        assert_eq!(kept, MAX_PLANS);
        let newest = key(&(MAX_PLANS + 4).to_string());
        assert!(matches!(cache.plan(&newest), CachedPlan::Whole(_)));
    }

    #[test]
    fn a_timing_cache_that_is_spoilt_is_as_good_as_none() {
        let (folder, cache) = cache();
        cache.keep_timing(&key("8.7"), b"times").unwrap();
        assert_eq!(cache.timing(&key("8.7")), b"times");
        let path = folder.path().join("tensorrt").join(key("8.7").file("timing"));
        fs::write(path, b"times").unwrap();
        assert_eq!(cache.timing(&key("8.7")), b"");
    }
}
