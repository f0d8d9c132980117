//! The gate: what is checked before a study is computed on, and the limits.
//!
//! Owns [`GateParams`] and the pure checks on headers and voxels. Refuses
//! to guess: what a header does not say is not held against it.

use super::suited::is_map;
use crate::intake::refusal_codes::RefusalCode;
use crate::intake::study::phases::recon::image_words;
use crate::ui::counted;
use hepalert_study::defaults;
use hepalert_voxels::ct::{Repaired, VoxelFault, inspect};
use hepalert_voxels::volume::Volume;
use hepalert_voxels::volume::dicom::SliceHeader;

/// A study, series or file that is not computed on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// The reason.
    pub code: RefusalCode,
    /// Numbers behind it. Never an identifier, never free text of a header.
    pub detail: String,
    /// How many files it is about.
    pub file_count: usize,
}

impl Refusal {
    /// A refusal of `file_count` files.
    pub fn new(code: RefusalCode, detail: impl Into<String>, file_count: usize) -> Refusal {
        Refusal { code, detail: detail.into(), file_count }
    }
}

/// The limits of the gate.
#[derive(Debug, Clone, PartialEq)]
pub struct GateParams {
    /// Lowest and highest tube voltage: networks were trained within, and like devices
    /// exclude the rest.
    pub kvp: [f64; 2],
    /// Shortest scan, in mm along the patient: a liver is about 150 mm high, half of one
    /// can be judged, a third cannot.
    pub min_coverage_mm: f64,
    /// Fewest slices: fewer are bolus tracking or a biopsy.
    pub min_slices: usize,
    /// Most files of one study: four phases in 0.5 mm slices are 6000.
    pub max_files: usize,
    /// Most bytes of one study, all phases that are read.
    pub max_study_bytes: u64,
    /// Most bytes of one file.
    pub max_file_bytes: u64,
    /// Least part of voxels like air, lung or fat (-1100..-20 HU): no CT of a body is
    /// without fat; masks, MR and CT without rescale are.
    pub min_fraction_air_fat: f64,
    /// Least part of voxels like soft tissue (-20..200 HU).
    pub min_fraction_tissue: f64,
    /// Fewest different values in whole HU: label maps and normalised images have few.
    pub min_values: usize,
    /// What a study may take of memory, if that is bounded.
    pub memory: Option<MemoryLimit>,
}

/// Memory for a study's voxels and all that is computed on their grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes that one voxel of the grid takes at the peak, all phases together.
    pub bytes_per_voxel: u64,
}

impl MemoryLimit {
    /// Voxels that the grid of a study may have.
    pub fn voxels(&self) -> u64 {
        self.bytes / self.bytes_per_voxel.max(1)
    }

    /// A refusal of so many voxels on one grid.
    pub fn refusal(&self, voxels: u64) -> Refusal {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let needed = mib(voxels.saturating_mul(self.bytes_per_voxel));
        let detail = format!("{voxels} voxels need {needed} MiB, {} are left", mib(self.bytes));
        Refusal::new(RefusalCode::OverMemoryBudget, detail, 1)
    }
}

impl Default for GateParams {
    fn default() -> GateParams {
        GateParams {
            kvp: defaults::KVP,
            min_coverage_mm: defaults::MIN_EXTENT_MM,
            min_slices: 8,
            max_files: defaults::MAX_FILES,
            max_study_bytes: 4 << 30,
            max_file_bytes: 2 << 30,
            min_fraction_air_fat: 0.01,
            min_fraction_tissue: 0.02,
            min_values: 16,
            memory: None,
        }
    }
}

/// Tokens of BodyPartExamined that a scan with a liver in it may carry.
const TRUNK: [&str; 14] = [
    "ABD", "LIVER", "TRUNK", "CHEST", "THORA", "TORSO", "BODY", "PELVI", "CAP", "TAP", "SPLEEN",
    "PANCREA", "KIDNEY", "LEBER",
];

/// Tokens that name another part. Anything else is not held against a study.
const ELSEWHERE: [&str; 26] = [
    "HEAD", "SKULL", "BRAIN", "NECK", "CSPINE", "CEREB", "SINUS", "ORBIT", "FACE", "JAW",
    "MAXILLA", "TOOTH", "TEETH", "KNEE", "EXTREM", "LEG", "FOOT", "ANKLE", "HAND", "WRIST",
    "ELBOW", "SHOULDER", "FEMUR", "TIBIA", "HUMERUS", "TEMPORAL",
];

/// True when BodyPartExamined clearly names something without a liver.
pub(crate) fn elsewhere(body_part: &str) -> bool {
    let part = body_part.to_uppercase();
    !TRUNK.iter().any(|word| part.contains(word))
        && ELSEWHERE.iter().any(|word| part.contains(word))
}

/// Why an object can never be part of a phase, if it cannot: the same for every way in.
pub(crate) fn refusal_of(header: &SliceHeader) -> Option<Refusal> {
    if let Err(error) = header.require_ct() {
        return Some(error.into());
    }
    let refuse = |code, detail: &str| Some(Refusal::new(code, detail, 1));
    if !header.modality.is_empty() && header.modality != "CT" {
        return refuse(RefusalCode::NotCt, "the modality is not CT");
    }
    let words = image_words(header);
    let says = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    if says(&["LOCALIZER", "LOCALISER", "SCOUT", "TOPOGRAM", "SURVIEW"]) {
        return refuse(RefusalCode::Localiser, "ImageType names a scout");
    }
    if says(&["SCREEN", "DOSE", "PASTED"]) {
        return refuse(RefusalCode::NotCt, "ImageType names a screenshot");
    }
    if says(&["REFORMATTED", "MPR", "MIP", "MINIP", "PROJECTION", "VRT", "SSD", "3D"]) {
        return refuse(RefusalCode::Reformatted, "ImageType names a reformat");
    }
    if is_map(header) {
        return refuse(RefusalCode::DerivedMap, "an image computed of two energies");
    }
    // Beyond 37 degrees from the patient's axis: further than any gantry tilts.
    let is_axial = header.normal().is_none_or(|[_, _, z]| z.abs() > 0.8);
    if is_axial {
        None
    } else {
        refuse(RefusalCode::NotAxial, "the slices do not lie across the body")
    }
}

/// The header checks that are not geometry: body part, where it is named, and the tube
/// voltages, where they are.
///
/// # Errors
/// The first reason found.
pub(crate) fn check_said(body_part: &str, kvp: &[f64], gate: &GateParams) -> Result<(), Refusal> {
    if elsewhere(body_part) {
        let detail = "BodyPartExamined names another part";
        return Err(Refusal::new(RefusalCode::WrongBodyRegion, detail, 1));
    }
    let [low, high] = gate.kvp;
    match kvp.iter().find(|kvp| !(low..=high).contains(*kvp)) {
        Some(kvp) => {
            let detail = format!("{kvp} kVp, not {low} to {high}");
            Err(Refusal::new(RefusalCode::KvpOutOfRange, detail, 1))
        }
        None => Ok(()),
    }
}

/// Whether a scan is long enough to hold a liver.
///
/// # Errors
/// [`RefusalCode::TooShort`].
pub(crate) fn check_extent(
    slices: usize,
    coverage_mm: f64,
    gate: &GateParams,
) -> Result<(), Refusal> {
    if slices >= gate.min_slices && coverage_mm >= gate.min_coverage_mm {
        return Ok(());
    }
    let detail = format!(
        "{slices} slices over {coverage_mm:.0} mm, at least {} over {:.0} mm",
        gate.min_slices, gate.min_coverage_mm
    );
    Err(Refusal::new(RefusalCode::TooShort, detail, slices))
}

/// How the slices of a volume are called in messages, from the first along z.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SliceNames {
    /// InstanceNumbers, as a viewer shows them.
    Instances(Vec<i64>),
    /// Their place, from 1.
    Places,
}

impl SliceNames {
    /// `slices 3, 7 to 12 (InstanceNumber)`.
    fn tell(&self, slices: &[usize]) -> String {
        let (mut numbers, what): (Vec<i64>, _) = match self {
            SliceNames::Instances(names) => {
                (slices.iter().filter_map(|z| names.get(*z)).copied().collect(), "InstanceNumber")
            }
            SliceNames::Places => {
                (slices.iter().map(|z| *z as i64 + 1).collect(), "counted from the first")
            }
        };
        numbers.sort_unstable();
        let runs = numbers.chunk_by(|a, b| a + 1 == *b);
        let run = |run: &[i64]| match run {
            [first, .., last] => format!("{first} to {last}"),
            one => one.iter().map(i64::to_string).collect(),
        };
        let shown: Vec<String> = runs.take(MAX_RUNS_TOLD).map(run).collect();
        let count = slices.len();
        format!("{count} of them: {} ({what})", shown.join(", "))
    }
}

/// More runs of slices than this are counted and not told one by one.
const MAX_RUNS_TOLD: usize = 12;

/// The one look at voxels, of DICOM and NIfTI alike: every slice, then all values. What can
/// be mended by rule is, and told.
///
/// # Errors
/// The first fault, with the slices that have it.
pub(crate) fn check_voxels(
    volume: &mut Volume<f32>,
    names: &SliceNames,
    padding_hu: &[Option<[f32; 2]>],
    gate: &GateParams,
) -> Result<Repaired, Refusal> {
    let sample_of = |volume: &Volume<f32>| volume.voxels().as_slice().map(sample);
    check_distinct(&sample_of(volume).unwrap_or_default(), gate)?;
    let count = volume.grid().shape()[0];
    let repaired = inspect(volume, padding_hu).map_err(|fault| {
        let (code, detail) = match fault {
            VoxelFault::NotFinite | VoxelFault::Implausible(_) => {
                (RefusalCode::NotCtValues, fault.to_string())
            }
            VoxelFault::Unfilled(slices) => (RefusalCode::SlicesWithoutImage, names.tell(&slices)),
            VoxelFault::Repeated(slices) => (RefusalCode::RepeatedSlices, names.tell(&slices)),
            VoxelFault::Rescaled(slices) => (RefusalCode::RescaleJump, names.tell(&slices)),
        };
        Refusal::new(code, detail, count)
    })?;
    check_values(&sample_of(volume).unwrap_or_default(), gate)?;
    Ok(repaired)
}

/// Whether there are numbers, and as many different ones as an image has.
fn check_distinct(voxels: &[f32], gate: &GateParams) -> Result<(), Refusal> {
    let refuse = |detail: String| Err(Refusal::new(RefusalCode::NotCtValues, detail, 1));
    if voxels.is_empty() || voxels.iter().any(|v| !v.is_finite()) {
        return refuse("voxels that are no numbers".into());
    }
    let mut values: Vec<i32> = voxels.iter().map(|v| v.round() as i32).collect();
    values.sort_unstable();
    values.dedup();
    if values.len() < gate.min_values {
        return refuse(format!("only {}", counted(values.len(), "different value")));
    }
    Ok(())
}

/// Whether voxels can be Hounsfield units of a body. Looks at `voxels` as they come: pass a
/// fair sample (see [`sample`]).
///
/// # Errors
/// [`RefusalCode::NotCtValues`], with the numbers.
pub(crate) fn check_values(voxels: &[f32], gate: &GateParams) -> Result<(), Refusal> {
    check_distinct(voxels, gate)?;
    let refuse = |detail: String| Err(Refusal::new(RefusalCode::NotCtValues, detail, 1));
    let part = |low: f32, high: f32| {
        let inside = voxels.iter().filter(|v| (low..high).contains(*v)).count();
        inside as f64 / voxels.len() as f64
    };
    let (air_fat, tissue) = (part(-1100.0, -20.0), part(-20.0, 200.0));
    if air_fat < gate.min_fraction_air_fat {
        return refuse(format!("{:.1} % of voxels like air or fat", 100.0 * air_fat));
    }
    if tissue < gate.min_fraction_tissue {
        return refuse(format!("{:.1} % of voxels like soft tissue", 100.0 * tissue));
    }
    Ok(())
}

/// About 200 000 voxels at a constant odd stride: enough for fractions to a tenth of a
/// percent, and the stride does not fall in step with rows of 512.
pub(crate) fn sample(voxels: &[f32]) -> Vec<f32> {
    let stride = (voxels.len() / 200_000).max(1) | 1;
    voxels.iter().copied().step_by(stride).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_pass_or_are_refused_by_name() {
        let gate = GateParams::default();
        let said = |part: &str, kvp: &[f64]| check_said(part, kvp, &gate).err().map(|r| r.code);
        assert_eq!(said("ABDOMEN", &[120.0]), None);
        assert_eq!(said("", &[]), None, "what is not said is not held against it");
        assert_eq!(said("Knee", &[120.0]), Some(RefusalCode::WrongBodyRegion));
        for kvp in [80.0, 99.9, 140.1, f64::NAN] {
            assert_eq!(said("", &[120.0, kvp]), Some(RefusalCode::KvpOutOfRange), "{kvp}");
        }
        assert_eq!(said("", &[100.0, 140.0]), None);
        let extent = |slices, mm| check_extent(slices, mm, &gate).err().map(|r| r.code);
        assert_eq!(extent(41, 205.0), None);
        assert_eq!(extent(41, 59.0), Some(RefusalCode::TooShort));
        assert_eq!(extent(7, 205.0), Some(RefusalCode::TooShort));
        assert_eq!(extent(41, f64::NAN), Some(RefusalCode::TooShort));
    }

    #[test]
    fn a_body_part_is_held_against_a_study_only_when_clear() {
        let wrong = ["HEAD", "Knee", "EXTREMITY", "CSPINE", "HEADNECK"];
        assert!(wrong.iter().all(|part| elsewhere(part)));
        let fine = ["", "ABDOMEN", "CHEST", "LIVER", "WHOLEBODY", "HEADTOABDOMEN", "SPINE", "?"];
        assert!(fine.iter().all(|part| !elsewhere(part)));
    }

    fn values(make: impl Fn(usize) -> f32) -> Option<RefusalCode> {
        let voxels: Vec<f32> = (0..10_000).map(make).collect();
        check_values(&voxels, &GateParams::default()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn only_hounsfield_units_of_a_body_pass() {
        let body = |i: usize| if i.is_multiple_of(2) { -1000.0 } else { (i % 90) as f32 };
        assert_eq!(values(body), None);
        let refused = Some(RefusalCode::NotCtValues);
        assert_eq!(values(|_| 40.0), refused, "constant");
        assert_eq!(values(|i| (i % 9) as f32), refused, "a mask");
        assert_eq!(values(|i| body(i) + 1024.0), refused, "no rescale");
        assert_eq!(values(|i| (i % 1200) as f32), refused, "MR");
        assert_eq!(values(|i| -1000.0 + (i % 50) as f32), refused, "air only");
        assert_eq!(values(|i| if i == 7 { f32::NAN } else { body(i) }), refused, "no number");
        assert_eq!(
            check_values(&[], &GateParams::default()).unwrap_err().code.as_str(),
            "not_ct_values"
        );
    }

    #[test]
    fn a_sample_is_fair_and_bounded() {
        let voxels: Vec<f32> = (0..3_000_000).map(|i| (i % 512) as f32).collect();
        let part = sample(&voxels);
        assert!(part.len() > 100_000 && part.len() < 400_000);
        let mean = part.iter().map(|v| f64::from(*v)).sum::<f64>() / part.len() as f64;
        assert!((mean - 255.5).abs() < 1.0, "{mean}");
    }
}
