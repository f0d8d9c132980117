//! Synthetic patients with exact truth: CT of the upper abdomen from a seed.
//!
//! Owns the anatomy (`body`, `organs`, `vessels`, `lesions`) as implicit shapes, the tissues'
//! Hounsfield units per phase (`palette`) and the scanner (`scanner`). Same
//! seed, same voxels. The anatomy of a seed does not depend on the case: a malignant patient
//! is the normal patient of that seed with lesions in the liver.
//! Refuses files, and refuses to be mistaken for medicine: no figure measured on phantoms
//! says anything about patients.

use ndarray::Array3;

use hepalert_study::anatomy::Lesion;
use hepalert_study::phase::{Phase, Setting};
use hepalert_voxels::volume::{Grid, LabelMap, Volume};

mod body;
mod canvas;
mod contrast;
mod draw;
mod field;
mod lesions;
mod liver;
mod motion;
mod organs;
mod palette;
mod scanner;
mod scene;
mod shape;
#[cfg(test)]
mod tests;
mod vessels;

use draw::{Draw, Stream};
use lesions::Planted;
use scene::Scene;

/// What kind of patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Case {
    /// At least one malignant lesion of more than 1 cm3; perhaps benign ones too.
    Malignant,
    /// Benign lesions only.
    Benign,
    /// No lesion.
    Normal,
}

impl Case {
    /// The name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Case::Malignant => "malignant",
            Case::Benign => "benign",
            Case::Normal => "normal",
        }
    }

    /// The case of a seed when nobody asks for one: half malignant, the rest evenly split.
    pub fn of_seed(seed: u64) -> Case {
        match Draw::new(seed, Stream::Case).uniform(0.0, 1.0) {
            d if d < 0.5 => Case::Malignant,
            d if d < 0.75 => Case::Benign,
            _ => Case::Normal,
        }
    }
}

/// How finely a patient is scanned; the field of view is the patient's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows and columns of a slice.
    pub pixels: usize,
    /// Number of slices over the whole height, or as many as the seed says at 5 mm.
    pub slices: Option<usize>,
}

impl Size {
    /// As in the clinic: 512 x 512, 36 to 56 slices of 5 mm.
    pub const FULL: Size = Size { pixels: 512, slices: None };
    /// For tests: voxels four times as wide and more than twice as thick.
    pub const SMALL: Size = Size { pixels: 128, slices: Some(20) };
}

/// A lesion as it came to lie in the truth.
#[derive(Debug, Clone, PartialEq)]
pub struct LesionTruth {
    /// The type.
    pub kind: Lesion,
    /// Centre of gravity of its voxels, `[x, y, z]` in millimetres RAS.
    pub centre_ras_mm: [f64; 3],
    /// Half axes of the ellipsoid it was made from, in millimetres.
    pub radii_mm: [f64; 3],
    /// Voxels with its label.
    pub voxels: usize,
    /// `voxels` times the volume of one voxel.
    pub volume_cm3: f64,
}

/// A synthetic patient.
#[derive(Debug)]
pub struct Patient {
    /// What made it.
    pub seed: u64,
    /// What kind of patient.
    pub case: Case,
    /// Hounsfield units per phase, in channel order.
    pub phases: Vec<(Phase, Volume<i16>)>,
    /// Phases that moved against the reference, with the true field over the truth's grid: the
    /// way from each voxel to where it is seen in that phase, `[x, y, z]` in millimetres RAS.
    pub moved: Vec<(Phase, Array3<[f32; 3]>)>,
    /// Labels as in `anatomy`: lesion before vessel before organ.
    pub truth: LabelMap,
    /// The lesions, in the order they were planted.
    pub lesions: Vec<LesionTruth>,
}

/// Makes the patient of this seed. All phases lie on one grid and show the same moment of
/// breathing: what an aligned study should look like.
///
/// # Panics
/// If the size has no pixel or no slice.
pub fn generate(seed: u64, case: Case, setting: Setting, size: Size) -> Patient {
    let scene = Scene::new(seed, case, size);
    let mut truth = None;
    let mut phases = Vec::new();
    for &phase in setting.phases() {
        let (volume, labels, counts) = scene.scan(seed, phase);
        phases.push((phase, volume));
        truth.get_or_insert((labels, counts));
    }
    let Some((truth, owner)) = truth else { unreachable!("every setting has a phase") };
    let lesions = measure(&scene.lesions, &owner, truth.grid());
    Patient { seed, case, phases, moved: Vec::new(), truth, lesions }
}

/// Makes the patient of this seed as a scanner would: every phase but the portal venous one, on
/// whose grid the truth lies, in another breath and on slices of its own.
///
/// # Panics
/// If the size has no pixel or no slice.
pub fn generate_moving(seed: u64, case: Case, setting: Setting, size: Size) -> Patient {
    let reference =
        *setting.phases().iter().find(|phase| **phase == Phase::Vp).unwrap_or(&Phase::Nc);
    let scene = Scene::new(seed, case, size);
    let (held, truth, owner) = scene.scan(seed, reference);
    let (mut phases, mut moved) = (Vec::new(), Vec::new());
    for &phase in setting.phases().iter().filter(|phase| **phase != reference) {
        let (volume, field) = scene.scan_moved(seed, phase);
        phases.push((phase, volume));
        moved.push((phase, field));
    }
    phases.push((reference, held));
    phases.sort_by_key(|(phase, _)| *phase as usize);
    let lesions = measure(&scene.lesions, &owner, truth.grid());
    Patient { seed, case, phases, moved, truth, lesions }
}

/// The patient of this seed scanned once, so many seconds after an injection began: any moment,
/// with a heart, dose, liver and kidneys of the seed. 0 s is native. The looks that
/// [`generate`] gives to the four phases are others: they are the same in every patient.
///
/// # Panics
/// If the size has no pixel or no slice.
pub fn scan_after(seed: u64, case: Case, seconds: f32, size: Size) -> Volume<i16> {
    let circulation = contrast::Circulation::draw(&mut Draw::new(seed, Stream::Contrast));
    Scene::new(seed, case, size).scan_after(seed, circulation.after(seconds), seconds)
}

fn measure(planted: &[Planted], owner: &Array3<u8>, grid: &Grid) -> Vec<LesionTruth> {
    let mut sums = vec![([0.0_f64; 3], 0_usize); planted.len()];
    for ((z, y, x), number) in owner.indexed_iter() {
        if let Some((sum, voxels)) =
            number.checked_sub(1).and_then(|i| sums.get_mut(usize::from(i)))
        {
            sum.iter_mut().zip([z, y, x]).for_each(|(sum, index)| *sum += index as f64);
            *voxels += 1;
        }
    }
    let seen = planted.iter().zip(sums).filter(|(_, (_, voxels))| *voxels > 0);
    seen.map(|(lesion, (sum, voxels))| LesionTruth {
        kind: lesion.kind,
        centre_ras_mm: grid.ras_mm(sum.map(|s| s / voxels as f64)),
        radii_mm: lesion.radii_mm(),
        voxels,
        volume_cm3: voxels as f64 * grid.voxel_cm3(),
    })
    .collect()
}
