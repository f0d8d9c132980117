//! Which files of a folder make a case.
//!
//! Owns four layouts: nnU-Net's raw data set (`imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`),
//! a folder per case, many cases in one folder told apart by their names, and DICOM series, a case
//! per study. Looks at names and the first bytes of files. What looked like a case and is none is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hepalert_study::digest::Digest;
use hepalert_study::phase::Phase;
use hepalert_voxels::volume::Grid;
use hepalert_voxels::volume::nifti::NiftiError;
use hepalert_voxels::volume::nifti::read::{Datatype, Facts, peek};

use super::case::{Case, ImageFile, LabelFile, Skipped, Voxels};
use super::dicom::{self, Series};
use super::error::CaseError;
use super::files::{failed, file_name};
use super::names::{FileKind, is_plain, name, stem};

/// Folders below folders that are looked into.
pub(super) const MAX_DEPTH: usize = 4;
/// Files and folders looked at: more patients are no folder for one page.
pub(super) const MAX_ENTRIES: usize = 200_000;
/// A report of this program.
const REPORT: &str = "report.json";
/// The header of a NIfTI file, gzipped or not.
const PEEK_BYTES: u64 = 4096;
/// Folders whose files are images, and those beside them whose files are labels.
const IMAGES: [&str; 3] = ["imagesTr", "imagesTs", "images"];
const LABELS: [&str; 3] = ["labelsTr", "labelsTs", "labels"];

/// The cases below a folder, by name, and what was passed over.
pub(super) fn cases(root: &Path, work: &Path) -> Result<(Vec<Case>, Vec<Skipped>), CaseError> {
    let mut finding = Finding {
        root: root.to_owned(),
        work: fs::canonicalize(work).ok(),
        cases: BTreeMap::new(),
        skipped: Vec::new(),
        looked: 0,
        studies: BTreeMap::new(),
        taken: Vec::new(),
    };
    finding.folder(root, 0)?;
    finding.add_studies();
    Ok((finding.cases.into_values().collect(), finding.skipped))
}

struct Finding {
    root: PathBuf,
    /// None where it is not there yet: then it cannot be come across.
    work: Option<PathBuf>,
    cases: BTreeMap<String, Case>,
    skipped: Vec<Skipped>,
    looked: usize,
    /// DICOM series by their study, with the folder they lie in.
    studies: BTreeMap<String, Vec<(PathBuf, Series)>>,
    /// Folders of one patient whose images lie there as NIfTI.
    taken: Vec<PathBuf>,
}

/// What a folder holds, by name.
#[derive(Default)]
struct Listing {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Finding {
    fn list(&mut self, folder: &Path) -> Result<Listing, CaseError> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(folder).map_err(failed(folder))? {
            let path = entry.map_err(failed(folder))?.path();
            self.looked += 1;
            if self.looked > MAX_ENTRIES {
                let why = format!("more than {MAX_ENTRIES} files: the rest is not looked at");
                self.skip(folder, why);
                break;
            }
            let Ok(facts) = fs::metadata(&path) else { continue };
            if file_name(&path).starts_with('.') {
                continue;
            }
            if facts.is_dir() {
                if !self.is_work(&path) {
                    listing.folders.push(path);
                }
            } else if facts.is_file() {
                listing.files.push(path);
            }
        }
        listing.folders.sort();
        listing.files.sort();
        Ok(listing)
    }

    /// Whether labels go there, by whatever links either is reached.
    fn is_work(&self, folder: &Path) -> bool {
        let Some(work) = &self.work else { return false };
        fs::canonicalize(folder).is_ok_and(|folder| folder == *work)
    }

    fn folder(&mut self, folder: &Path, depth: usize) -> Result<(), CaseError> {
        let Listing { folders, files } = self.list(folder)?;
        if self.looked > MAX_ENTRIES {
            return Ok(());
        }
        let pairs: Vec<(PathBuf, PathBuf)> = (IMAGES.iter().zip(LABELS))
            .map(|(images, labels)| (folder.join(images), folder.join(labels)))
            .filter(|(images, _)| folders.contains(images))
            .collect();
        for (images, labels) in &pairs {
            self.raw_data_set(folder, images, labels)?;
        }
        if pairs.is_empty() {
            self.by_names(folder, &files);
            let others: Vec<PathBuf> =
                files.into_iter().filter(|path| nifti_stem(path).is_none()).collect();
            let (found, skipped) = dicom::series(&others);
            for series in found {
                let study = self.studies.entry(series.study.clone()).or_default();
                study.push((folder.to_owned(), series));
            }
            skipped.into_iter().for_each(|(path, why)| self.skip(&path, why));
        }
        let is_pair = |path: &PathBuf| pairs.iter().any(|(a, b)| path == a || path == b);
        for inner in folders.iter().filter(|inner| !is_pair(inner)) {
            if depth < MAX_DEPTH {
                self.folder(inner, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Images in one folder, labels of the same names in another.
    fn raw_data_set(
        &mut self,
        folder: &Path,
        images: &Path,
        labels: &Path,
    ) -> Result<(), CaseError> {
        let known: BTreeSet<String> = match labels.is_dir() {
            true => self.list(labels)?.files.iter().filter_map(|path| nifti_stem(path)).collect(),
            false => BTreeSet::new(),
        };
        let mut cases: BTreeMap<String, Vec<Found>> = BTreeMap::new();
        for path in self.list(images)?.files {
            let Some(stem) = nifti_stem(&path) else { continue };
            let channel = stem.rsplit_once('_').filter(|(case, channel)| {
                // Without labels of either name, four digits at the end are nnU-Net's channel.
                let is_channel = channel.len() == 4 && channel.bytes().all(|b| b.is_ascii_digit());
                is_channel && (known.contains(*case) || !known.contains(&stem))
            });
            let (case, own) = channel.unwrap_or((&stem, "ct"));
            if let Some(facts) = self.facts(&path) {
                let (own, grid) = (own.to_owned(), Arc::new(facts.grid));
                let found = Found { own, path, grid, is_image: true, phase: None };
                cases.entry(case.to_owned()).or_default().push(found);
            }
        }
        for (case, mut found) in cases {
            for ending in [".nii.gz", ".nii"] {
                let path = labels.join(format!("{case}{ending}"));
                let own = file_name(labels);
                if let Some(facts) = path.is_file().then(|| self.facts(&path)).flatten() {
                    let grid = Arc::new(facts.grid);
                    found.push(Found { own, path, grid, is_image: false, phase: None });
                    break;
                }
            }
            let id = self.id(folder, &case);
            self.add(id, found, None);
        }
        Ok(())
    }

    /// Files of one folder, told apart by what their names share.
    fn by_names(&mut self, folder: &Path, files: &[PathBuf]) {
        let mut groups: BTreeMap<String, Vec<Found>> = BTreeMap::new();
        for path in files {
            let Some(stem) = nifti_stem(path) else { continue };
            // A field of displacements lies beside phantoms; it is neither.
            if stem.ends_with(".field") {
                continue;
            }
            let Some(facts) = self.facts(path) else { continue };
            let said = name(&stem);
            let (is_image, phase) = match said.kind {
                FileKind::Image(phase) => (true, phase),
                FileKind::Labels => (false, None),
                FileKind::Unknown => (!matches!(facts.datatype, Datatype::U8 | Datatype::I8), None),
            };
            let (path, grid) = (path.clone(), Arc::new(facts.grid));
            groups.entry(said.case).or_default().push(Found {
                own: said.own,
                path,
                grid,
                is_image,
                phase,
            });
        }
        let with_images: Vec<String> = groups
            .iter()
            .filter(|(_, found)| found.iter().any(|found| found.is_image))
            .map(|(case, _)| case.clone())
            .collect();
        if let [only] = &with_images[..] {
            // One patient's folder: whatever else lies there is of the same.
            let all: Vec<Found> = groups.into_values().flatten().collect();
            let id = self.id(folder, if folder == self.root { only } else { "" });
            self.taken.push(folder.to_owned());
            self.add(id, all, report(folder));
            return;
        }
        for (case, found) in groups {
            let id = self.id(folder, &case);
            self.add(id, found, None);
        }
    }

    /// A case per study, called as the folder that holds all of it. The series from which a
    /// patient's NIfTI files were made are no case of their own.
    fn add_studies(&mut self) {
        let studies = std::mem::take(&mut self.studies);
        let places: Vec<PathBuf> = studies.values().map(|all| common(all)).collect();
        let places: Vec<PathBuf> =
            places.iter().map(|place| self.patient(place, &places)).collect();
        for ((study, series), place) in studies.into_iter().zip(&places) {
            if self.taken.iter().any(|taken| place.starts_with(taken)) {
                continue;
            }
            let is_alone = places.iter().filter(|other| *other == place).count() == 1;
            // Nothing of a header names a case: it may name a patient.
            let digest = Digest::of(study.as_bytes()).hex();
            let own = if is_alone { String::new() } else { format!("study-{}", &digest[..8]) };
            let id = self.id(place, &own);
            let named = images(series);
            if self.cases.contains_key(&id) || !is_plain(&id) {
                let why = "another case has the same name, or it cannot be one: rename its folder";
                self.skip(place, why.to_owned());
            } else if named.iter().map(|image| &image.name).collect::<BTreeSet<_>>().len()
                < named.len()
            {
                self.skip(place, "two of its series have one number: part them".to_owned());
            } else {
                let case = Case {
                    id: id.clone(),
                    images: named,
                    labels: Vec::new(),
                    report: report(place),
                };
                self.cases.insert(id, case);
            }
        }
    }

    /// The folder above one that is called as a series, where no other study lies in it: so a patient
    /// of one series is called as one of several. Labels that are there keep their name.
    fn patient(&self, place: &Path, places: &[PathBuf]) -> PathBuf {
        let is_series = file_name(place).to_ascii_lowercase().starts_with("series");
        let above = place.parent().filter(|above| is_series && *above != self.root);
        let alone = above.filter(|above| {
            let is_work = |work: &PathBuf| work.join(self.id(place, "")).is_dir();
            places.iter().filter(|other| other.starts_with(above)).count() == 1
                && !self.work.as_ref().is_some_and(is_work)
        });
        alone.unwrap_or(place).to_owned()
    }

    /// The name of a case: of the folders it lies in and its own.
    fn id(&self, folder: &Path, case: &str) -> String {
        let below = folder.strip_prefix(&self.root).unwrap_or(folder);
        let mut parts: Vec<String> =
            below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if !case.is_empty() {
            parts.push(case.to_owned());
        }
        match parts.is_empty() {
            true => file_name(&self.root),
            false => parts.join("~"),
        }
    }

    fn add(&mut self, id: String, found: Vec<Found>, report: Option<PathBuf>) {
        let (images, labels): (Vec<Found>, Vec<Found>) =
            found.into_iter().partition(|found| found.is_image);
        let first = images.first().or(labels.first()).map(|found| found.path.clone());
        let Some(first) = first else { return };
        let own: BTreeSet<&str> = images.iter().chain(&labels).map(|f| f.own.as_str()).collect();
        let why = if images.is_empty() {
            "labels without an image"
        } else if !is_plain(&id) || !own.iter().all(|own| is_plain(own)) {
            "its name has characters that are not taken: rename it"
        } else if own.len() < images.len() + labels.len() {
            "two of its files have one name, as .nii and .nii.gz: remove one"
        } else if self.cases.contains_key(&id) {
            "another case has the same name: rename one"
        } else {
            let images = images.into_iter().map(|found| ImageFile {
                name: found.own,
                phase: found.phase,
                voxels: Voxels::Nifti(found.path),
                grid: found.grid,
            });
            let labels = labels.into_iter().map(|found| LabelFile {
                name: found.own,
                path: found.path,
                grid: found.grid,
            });
            let (images, labels) = (images.collect(), labels.collect());
            self.cases.insert(id.clone(), Case { id, images, labels, report });
            return;
        };
        self.skip(&first, why.to_owned());
    }

    fn facts(&mut self, path: &Path) -> Option<Facts> {
        match header(path) {
            Ok(facts) => Some(facts),
            Err(why) => {
                self.skip(path, why);
                None
            }
        }
    }

    fn skip(&mut self, path: &Path, why: String) {
        let path = path.strip_prefix(&self.root).unwrap_or(path).to_owned();
        self.skipped.push(Skipped { path, why });
    }
}

/// The folder that holds all series of a study.
fn common(series: &[(PathBuf, Series)]) -> PathBuf {
    let mut place = series[0].0.clone();
    for (folder, _) in series {
        while !folder.starts_with(&place) {
            place.pop();
        }
    }
    // One series in a folder called as its phase belongs to the patient's folder above.
    let is_phase = phase_of(&place).is_some() && series.iter().all(|(at, _)| *at == place);
    if is_phase {
        place.pop();
    }
    place
}

fn phase_of(folder: &Path) -> Option<Phase> {
    Phase::from_code(&file_name(folder).to_ascii_lowercase())
}

/// A series is called as its folder, where that is a phase and it is the only one there, or else by
/// its number.
fn images(series: Vec<(PathBuf, Series)>) -> Vec<ImageFile> {
    let count = |folder: &Path| series.iter().filter(|(other, _)| other == folder).count();
    let phases: Vec<Option<Phase>> =
        series.iter().map(|(folder, _)| phase_of(folder).filter(|_| count(folder) == 1)).collect();
    let named = series.into_iter().zip(phases).map(|((_, series), phase)| {
        let number = series.number.map_or("unnumbered".to_owned(), |number| number.to_string());
        let part = series.part.map_or(String::new(), |part| format!("-{part}"));
        let name = phase.map_or(format!("series-{number}{part}"), |p| p.code().to_owned());
        let voxels = Voxels::Dicom { files: series.files, instances: series.instances };
        ImageFile { name, phase, voxels, grid: series.grid }
    });
    let mut images: Vec<ImageFile> = named.collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    images
}

struct Found {
    own: String,
    path: PathBuf,
    grid: Arc<Grid>,
    is_image: bool,
    phase: Option<Phase>,
}

fn nifti_stem(path: &Path) -> Option<String> {
    stem(&file_name(path)).map(str::to_owned)
}

fn report(folder: &Path) -> Option<PathBuf> {
    Some(folder.join(REPORT)).filter(|path| path.is_file())
}

fn header(path: &Path) -> Result<Facts, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(PEEK_BYTES).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    peek(&bytes).map_err(|error: NiftiError| error.to_string())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use hepalert_voxels::volume::Volume;
    use hepalert_voxels::volume::nifti::write::{write_i16, write_u8};
    use ndarray::Array3;

    use super::*;
    use crate::cases::Folder;

    fn write(root: &Path, file: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let grid = Arc::new(Grid::axial([1, 2, 2], [1.0; 3], [0.0; 3]));
        let is_labels = ["label", "truth", "u8", "lesion"].iter().any(|word| file.contains(word));
        let bytes = match is_labels {
            true => write_u8(&Volume::new(grid, Array3::zeros([1, 2, 2]))),
            false => write_i16(&Volume::new(grid, Array3::zeros([1, 2, 2]))),
        };
        fs::write(path, bytes).unwrap();
    }

    fn check(files: &[&str], expected: Expect) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cohort");
        files.iter().for_each(|file| write(&root, file));
        fs::write(root.join("notes.txt"), "no image").unwrap();
        let folder = Folder::open(&root, None).unwrap();
        let names = |names: Vec<&str>| names.join(" ");
        let case = |case: &Case| {
            let images = case.images.iter().map(|image| image.name.as_str()).collect();
            let labels = case.labels.iter().map(|labels| labels.name.as_str()).collect();
            format!("{}: {} | {}\n", case.id, names(images), names(labels))
        };
        let skipped =
            |skipped: &Skipped| format!("skipped {}: {}\n", skipped.path.display(), skipped.why);
        let told: String = folder.cases().iter().map(case).collect();
        let passed: String = folder.skipped().iter().map(skipped).collect();
        expected.assert_eq(&(told + &passed));
    }

    #[test]
    fn an_nnunet_raw_data_set() {
        check(
            &[
                "imagesTr/liver_1_0000.nii.gz",
                "imagesTr/liver_1_0001.nii.gz",
                "imagesTr/liver_2_0000.nii.gz",
                "labelsTr/liver_1.nii.gz",
                "imagesTs/x_0000.nii.gz",
            ],
            expect![[r#"
                liver_1: 0000 0001 | labelsTr
                liver_2: 0000 | 
                x: 0000 | 
            "#]],
        );
    }

    #[test]
    fn a_decathlon_data_set_has_no_channels() {
        check(
            &["imagesTr/liver_0001.nii.gz", "labelsTr/liver_0001.nii.gz"],
            expect![[r#"
                liver_0001: ct | labelsTr
            "#]],
        );
    }

    #[test]
    fn a_folder_per_case_and_many_cases_in_one() {
        check(
            &[
                "p1/vp.nii.gz",
                "p1/ap.nii.gz",
                "p1/truth.nii.gz",
                "p2/ct.nii.gz",
                "p2/labels_base.nii.gz",
                "p2/dicom/0001.dcm",
                "flat/a_vp.nii.gz",
                "flat/a_labels.nii.gz",
                "flat/b_vp.nii.gz",
                "masks/lesions.nii.gz",
                "hepalert-labels/p1/vp/anna.nii.gz",
                "one/scan 7.nii.gz",
                "one/u8.nii.gz",
            ],
            expect![[r#"
                flat~a: vp | labels
                flat~b: vp | 
                one: scan 7 | u8
                p1: ap vp | truth
                p2: ct | labels_base
                skipped masks/lesions.nii.gz: labels without an image
            "#]],
        );
    }

    /// Named by a detour, by a link to it, by its own name where that is a link.
    #[test]
    fn labels_are_no_cases_however_their_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cohort");
        for file in ["p1/ct.nii.gz", "mine/p1/ct/anna.nii.gz", "aside/p1/ct/anna.nii.gz"] {
            write(&root, file);
        }
        fs::rename(root.join("aside"), dir.path().join("aside")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("aside"), root.join("linked")).unwrap();
        std::os::unix::fs::symlink(root.join("mine"), dir.path().join("link")).unwrap();
        let found = |work: &Path| {
            let folder = Folder::open(&root, Some(work)).unwrap();
            assert_eq!(folder.work(), work, "told as it was named");
            folder.cases().iter().map(|case| case.id.clone()).collect::<Vec<_>>()
        };
        let [mine, linked] = ["mine~p1~ct", "linked~p1~ct"];
        assert_eq!(found(&root.join("mine")), [linked, "p1"]);
        assert_eq!(found(&root.join("p1/../mine")), [linked, "p1"]);
        assert_eq!(found(&dir.path().join("link")), [linked, "p1"]);
        assert_eq!(found(&root.join("linked")), [mine, "p1"]);
        assert_eq!(found(&dir.path().join("not yet")), [linked, mine, "p1"]);
    }

    #[test]
    fn a_single_case_is_called_as_its_folder() {
        check(
            &["ct.nii.gz", "truth.nii.gz"],
            expect![[r#"
                cohort: ct | truth
            "#]],
        );
    }

    #[test]
    fn what_is_damaged_or_ambiguous_is_told() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a/ct.nii.gz");
        write(dir.path(), "a/ct.nii");
        write(dir.path(), "b~c/ct.nii.gz");
        write(dir.path(), "b/c/ct.nii.gz");
        fs::write(dir.path().join("d_vp.nii.gz"), b"none").unwrap();
        let folder = Folder::open(dir.path(), None).unwrap();
        assert_eq!(folder.cases().len(), 1);
        let why: Vec<&str> = folder.skipped().iter().map(|skipped| skipped.why.as_str()).collect();
        assert!(why.iter().any(|why| why.contains("one name")), "{why:?}");
        assert!(why.iter().any(|why| why.contains("the same name")), "{why:?}");
        assert!(why.iter().any(|why| why.contains("not a NIfTI")), "{why:?}");
        assert_eq!(folder.case("../b~c").unwrap_err().code(), "unknown_name");
    }
}
