//! `detect`: single lesions out of a label map, as JSON and as a map of their numbers.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::study_files::read_label_map;
use super::{Failure, Ui, label_file, words};
use crate::report::output;
use crate::ui::counted;
use hepalert_cascade::detect::Detection;
use hepalert_cascade::detect::measure::{Context, measure};
use hepalert_cascade::detect::seg2det::{DetectParams, instance_map};
use hepalert_voxels::image::components::InPlane;
use hepalert_voxels::volume::Grid;
use hepalert_voxels::volume::nifti::write::write_u16;

/// Arguments of `detect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Label map: 1 HCC, 2 ICC, 3 Meta, 4 Hem, 5 Other, 6 Cyst; other values are background.
    labels: PathBuf,
    /// Where the list of lesions goes (JSON).
    #[arg(long)]
    out: PathBuf,
    /// Where a label map with each lesion's number goes.
    #[arg(long = "instances-out", alias = "instances")]
    instances: Option<PathBuf>,
    /// Which neighbours touch within a slice.
    #[arg(long, default_value = "8", value_parser = words::neighbours())]
    in_plane: InPlane,
}

/// `lesions.json`.
#[derive(Debug, Serialize)]
struct Document {
    spacing_mm: [f64; 3],
    lesions: Vec<Lesion>,
}

#[derive(Debug, Serialize)]
struct Lesion {
    id: u32,
    class: &'static str,
    label: u8,
    malignant: bool,
    voxels: usize,
    volume_cm3: f64,
    bbox_zyx: [[usize; 3]; 2],
    centre_ras_mm: [f64; 3],
    max_diameter_mm: f64,
    max_axial_diameter_mm: f64,
    slices: [usize; 2],
}

/// Runs the command.
///
/// # Errors
/// If the label map is refused or a file cannot be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let inputs = [args.labels.as_path()];
    output::check_document(&args.out, &["spacing_mm", "lesions"], &inputs)?;
    if let Some(out) = &args.instances {
        output::check_distinct(&[&args.out, out])?;
        output::check_nifti(out, &inputs)?;
    }
    let labels = read_label_map(&args.labels)?;
    let found =
        label_file::lesions(&args.labels, &labels, &DetectParams { in_plane: args.in_plane })?;
    if let Some(path) = &args.instances {
        // The longest axis a NIfTI-1 file can have.
        if labels.grid().shape().iter().any(|n| *n > 32_767) {
            let error = anyhow::anyhow!("{}: too long for an instance map", args.labels.display());
            return Err(Failure::refused("too_large", error));
        }
        let map = instance_map(&found, labels.grid()).map_err(Failure::failed)?;
        output::put(path, &write_u16(&map), &inputs)?;
    }
    let document = Document {
        spacing_mm: labels.grid().spacing_mm(),
        lesions: found.iter().map(|lesion| Lesion::new(lesion, labels.grid())).collect(),
    };
    output::put_json(&args.out, &document, &inputs)?;
    ui.result(&document, &document)
}

impl Lesion {
    fn new(lesion: &Detection, grid: &Grid) -> Lesion {
        let measured = measure(lesion, grid, &Context::default());
        Lesion {
            id: lesion.id,
            class: lesion.kind.name(),
            label: lesion.kind.label(),
            malignant: lesion.kind.is_malignant(),
            voxels: lesion.voxels,
            volume_cm3: lesion.volume_cm3,
            bbox_zyx: [lesion.region.lo, lesion.region.hi],
            centre_ras_mm: measured.centre_ras_mm,
            max_diameter_mm: measured.max_diameter_mm,
            max_axial_diameter_mm: measured.axial_diameter_mm,
            slices: measured.slices,
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.lesions.len(), "lesion"))?;
        for lesion in &self.lesions {
            let Lesion { id, class, volume_cm3, max_diameter_mm, slices: [lo, hi], .. } = lesion;
            let last = hi.saturating_sub(1);
            write!(
                f,
                "\n{id:>5}  {class:<5}  {volume_cm3:>9.2} cm3  {max_diameter_mm:>6.1} mm  \
                 slices {lo} to {last}"
            )?;
        }
        Ok(())
    }
}
