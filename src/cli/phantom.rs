//! `hepalert phantom`: a synthetic patient as a DICOM export folder, with its truth.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::TypedValueParser as _;
use ndarray::Axis;
use serde::Serialize;

use super::{Failure, Ui, words};
use crate::report::output::{self, OutputError};
use crate::ui::counted;
use hepalert_lab::phantom::{Case, Patient, Size, generate, generate_moving};
use hepalert_study::phase::{Phase, Setting};
use hepalert_voxels::volume::dicom::write::{SeriesTags, instance_number, uid_of, write_slice};
use hepalert_voxels::volume::nifti;

/// Arguments of `phantom`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Makes the patient: same seed, same files.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Which phases: venous, screening, or diagnosis with all four, each in a breath of its own.
    #[arg(long, default_value = "venous", value_parser = settings())]
    setting: Setting,
    /// All phases in one breath and on one grid, as registration should leave them.
    #[arg(long)]
    aligned: bool,
    /// Rows and columns of a slice.
    #[arg(long, default_value_t = 512, value_parser = words::number::<u16>(64..=1024))]
    pixels: u16,
    /// At least one malignant lesion.
    #[arg(long, group = "case")]
    malignant: bool,
    /// Benign lesions only.
    #[arg(long, group = "case")]
    benign: bool,
    /// No lesion. Without any of the three the seed decides.
    #[arg(long, group = "case")]
    normal: bool,
    /// Folder to write into; made if missing.
    #[arg(long)]
    out: PathBuf,
}

/// By this a folder is known as one of a phantom.
const SUMMARY_FILE: &str = "phantom.json";

/// `phantom.json`.
#[derive(Debug, Serialize)]
struct Summary {
    seed: u64,
    case: &'static str,
    setting: &'static str,
    phases: Vec<&'static str>,
    shape_zyx: [usize; 3],
    spacing_mm: [f64; 3],
    lesions: Vec<LesionSummary>,
}

#[derive(Debug, Serialize)]
struct LesionSummary {
    class: &'static str,
    label: u8,
    malignant: bool,
    centre_ras_mm: [f64; 3],
    radii_mm: [f64; 3],
    voxels: usize,
    volume_cm3: f64,
}

/// Runs the command.
///
/// # Errors
/// If the folder cannot be written.
pub fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    output::check_own_folder(
        &args.out,
        SUMMARY_FILE,
        "the folder holds something else than a phantom",
    )?;
    of_these_phases(args)?;
    let make = if args.aligned { generate } else { generate_moving };
    let size = Size { pixels: usize::from(args.pixels), ..Size::FULL };
    let setting = args.setting;
    let patient = make(args.seed, case(args), setting, size);
    let files = write_patient(&patient, &args.out)?;
    let summary = summary(&patient, setting);
    let text = format!(
        "{} patient of seed {} with {}: {} in {}",
        summary.case,
        summary.seed,
        counted(summary.lesions.len(), "lesion"),
        counted(files.len(), "file"),
        args.out.display()
    );
    ui.result(&summary, text)
}

/// Files of an earlier phantom that has other phases would stay beside this one's truth.
fn of_these_phases(args: &Args) -> Result<(), Failure> {
    let Ok(text) = fs::read_to_string(args.out.join(SUMMARY_FILE)) else { return Ok(()) };
    let earlier: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    if earlier["setting"] == args.setting.name() {
        return Ok(());
    }
    let what = "the folder holds a phantom of another setting";
    Err(OutputError::InTheWay { path: args.out.clone(), what }.into())
}

/// The settings that phantoms are made in, by name.
pub(super) fn settings() -> impl clap::builder::TypedValueParser<Value = Setting> {
    clap::builder::PossibleValuesParser::new(["venous", "screening", "diagnosis"])
        .try_map(|name| name.parse::<Setting>())
}

fn case(args: &Args) -> Case {
    match (args.malignant, args.benign, args.normal) {
        (true, ..) => Case::Malignant,
        (_, true, _) => Case::Benign,
        (.., true) => Case::Normal,
        (false, false, false) => Case::of_seed(args.seed),
    }
}

/// Everything about a patient: [`write_series`] under `dir/dicom`, the phases and the truth
/// as NIfTI, and `phantom.json`. Returns the files.
///
/// # Errors
/// If a file cannot be written.
pub fn write_patient(patient: &Patient, dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = write_series(patient, &dir.join("dicom"))?;
    for (phase, volume) in &patient.phases {
        let single = patient.phases.len() == 1;
        let name = if single { "ct.nii.gz".to_owned() } else { format!("{phase}.nii.gz") };
        files.push(put(dir.join(name), &nifti::write::write_i16(volume))?);
    }
    files.push(put(dir.join("truth.nii.gz"), &nifti::write::write_u8(&patient.truth))?);
    for (phase, field) in &patient.moved {
        let grid = patient.truth.grid();
        let slice = |z: usize| field.index_axis(Axis(0), z).iter().copied().collect();
        let name = format!("{phase}.field.nii.gz");
        files.push(put(dir.join(name), &nifti::write::write_displacements(grid, slice))?);
    }
    let phases: Vec<Phase> = patient.phases.iter().map(|(phase, _)| *phase).collect();
    let setting = Setting::of_phases(&phases).context("a patient has the phases of a setting")?;
    let summary_file = dir.join(SUMMARY_FILE);
    output::put_json(&summary_file, &summary(patient, setting), &[])?;
    files.push(summary_file);
    Ok(files)
}

/// The phases as DICOM series, as a scanner exports them: `dir/<phase>/NNNN.dcm`, numbered
/// from the head. Makes the folders; returns the files in order.
///
/// # Errors
/// If a file cannot be written.
pub fn write_series(patient: &Patient, dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (phase, volume) in &patient.phases {
        let folder = dir.join(phase.code());
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let tags = series_tags(patient.seed, *phase, patient.case);
        let slices = volume.grid().shape()[0];
        for z in (0..slices).rev() {
            let bytes = write_slice(volume, z, &tags)?;
            let name = format!("{:04}.dcm", instance_number(slices, z));
            files.push(put(folder.join(name), &bytes)?);
        }
    }
    Ok(files)
}

fn put(path: PathBuf, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    output::put(&path, bytes, &[])?;
    Ok(path)
}

/// All from the seed, so that the same phantom is the same study everywhere. The case is
/// part of the study's name but not of the patient's.
fn series_tags(seed: u64, phase: Phase, case: Case) -> SeriesTags {
    let study = format!("phantom {seed} {}", case.name());
    let (series_description, acquisition_time) = match phase {
        Phase::Nc => ("Abdomen native 5.0", "080500"),
        Phase::Ap => ("Abdomen arterial 5.0", "080635"),
        Phase::Vp => ("Abdomen portal venous 5.0", "080710"),
        Phase::Dp => ("Abdomen delayed 5.0", "080900"),
    };
    SeriesTags {
        patient_id: format!("PHANTOM-{seed}"),
        patient_name: format!("PHANTOM^{seed}"),
        study_uid: uid_of(&study),
        series_uid: uid_of(&format!("{study} {phase}")),
        frame_of_reference_uid: uid_of(&format!("{study} frame")),
        study_id: (seed % 1_000_000).to_string(),
        date: "20260102".to_owned(),
        study_time: "080000".to_owned(),
        acquisition_time: acquisition_time.to_owned(),
        series_number: phase as u32 + 2,
        series_description: series_description.to_owned(),
        contrast_agent: (phase != Phase::Nc).then(|| "SYNTHETIC IODINE".to_owned()),
        kvp: 120.0,
        kernel: "PHANTOM".to_owned(),
        manufacturer: output::PHANTOM.to_owned(),
    }
}

fn summary(patient: &Patient, setting: Setting) -> Summary {
    let grid = patient.truth.grid();
    let lesions = patient.lesions.iter().map(|lesion| LesionSummary {
        class: lesion.kind.name(),
        label: lesion.kind.label(),
        malignant: lesion.kind.is_malignant(),
        centre_ras_mm: lesion.centre_ras_mm,
        radii_mm: lesion.radii_mm,
        voxels: lesion.voxels,
        volume_cm3: lesion.volume_cm3,
    });
    Summary {
        seed: patient.seed,
        case: patient.case.name(),
        setting: setting.name(),
        phases: patient.phases.iter().map(|(phase, _)| phase.code()).collect(),
        shape_zyx: grid.shape(),
        spacing_mm: grid.spacing_mm(),
        lesions: lesions.collect(),
    }
}
