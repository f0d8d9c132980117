//! `register`: one image onto another, by DEEDS; labels, points and a picture with it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::stopping::EndsOnSignal;
use super::study_files::{damaged, read_file, read_label_map};
use super::{Exit, Failure, Ui};
use crate::analyze::peak_memory_mib;
use crate::report::output::{self, OutputError};
use hepalert_pictures::checkerboard::{Pair, checkerboard};
use hepalert_register::align::{Alignment, AlignmentKind, RegisterError, Settings, align};
use hepalert_register::deform::DeformParams;
use hepalert_register::map::{Map, holds};
use hepalert_register::quality::dice;
use hepalert_voxels::volume::nifti::read::read;
use hepalert_voxels::volume::nifti::vectors::read_displacements;
use hepalert_voxels::volume::nifti::write::{write_displacements, write_i16, write_u8};
use hepalert_voxels::volume::{LabelMap, Volume};

mod points;

/// Arguments of `register`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image that stays (NIfTI).
    #[arg(long)]
    fixed: PathBuf,
    /// The image that is brought onto it (NIfTI); its grid may be another.
    #[arg(long)]
    moving: PathBuf,
    /// Where the moving image on the fixed grid goes; -1024 HU where it shows nothing.
    #[arg(long)]
    out: PathBuf,
    /// Where the displacements go: millimetres along x, y, z for every voxel of the fixed image.
    #[arg(long = "field-out", alias = "field")]
    field: Option<PathBuf>,
    /// Estimate nothing: apply the displacements of this file.
    #[arg(long, conflicts_with_all = ["field", "rigid", "wide", "spacing"])]
    from_field: Option<PathBuf>,
    /// Points of the fixed image, CSV `x,y,z` in mm RAS.
    #[arg(long, requires = "points_out")]
    points: Option<PathBuf>,
    /// Where they lie in the moving image.
    #[arg(long, requires = "points")]
    points_out: Option<PathBuf>,
    /// A label map of the moving image.
    #[arg(long, requires = "labels_out")]
    labels: Option<PathBuf>,
    /// Where it goes, on the fixed grid.
    #[arg(long, requires = "labels")]
    labels_out: Option<PathBuf>,
    /// A label map of the fixed image: overlap with that of the moving one is told, before and
    /// after.
    #[arg(long, requires = "labels")]
    fixed_labels: Option<PathBuf>,
    /// Where a picture goes: checkerboards and differences, before and after (PNG).
    #[arg(long = "picture-out", alias = "picture")]
    picture: Option<PathBuf>,
    /// Turn and move only.
    #[arg(long)]
    rigid: bool,
    /// Search 80 mm as the reference program does, not the 60 mm that phases need.
    #[arg(long, conflicts_with = "rigid")]
    wide: bool,
    /// Edge of the voxels that displacements are estimated on, in mm.
    #[arg(long, default_value_t = 2.0)]
    spacing: f64,
}

impl Args {
    fn inputs(&self) -> Vec<&Path> {
        let optional = [&self.from_field, &self.points, &self.labels, &self.fixed_labels];
        let optional = optional.into_iter().flatten();
        [&self.fixed, &self.moving].into_iter().chain(optional).map(PathBuf::as_path).collect()
    }

    fn check_outputs(&self, inputs: &[&Path]) -> Result<(), OutputError> {
        let images = [&self.field, &self.labels_out].into_iter().flatten().chain([&self.out]);
        images.into_iter().try_for_each(|out| output::check_nifti(out, inputs))?;
        self.points_out.iter().try_for_each(|out| output::check_file(out, inputs))?;
        self.picture.iter().try_for_each(|out| output::check_picture(out, inputs))
    }

    fn outputs(&self) -> impl Iterator<Item = &Path> {
        let optional = [&self.field, &self.points_out, &self.labels_out, &self.picture];
        [&self.out].into_iter().chain(optional.into_iter().flatten()).map(PathBuf::as_path)
    }
}

/// Runs the command.
///
/// # Errors
/// Exit 3 for images that cannot be registered; exit 1 where no map brings them together.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    if !(0.5..=8.0).contains(&args.spacing) {
        return Err(Failure::new(Exit::Usage, anyhow!("--spacing must be from 0.5 to 8 mm")));
    }
    let inputs = args.inputs();
    args.check_outputs(&inputs)?;
    output::check_distinct(&args.outputs().collect::<Vec<_>>())?;
    let left = "nothing is written; the same command begins anew";
    let signals = EndsOnSignal::now(ui, left)?;
    let started = Instant::now();
    let (fixed, moving) = (image(&args.fixed)?, image(&args.moving)?);
    let labels = args.labels.as_ref().map(|path| label_map(path, &moving)).transpose()?;
    let fixed_labels =
        args.fixed_labels.as_ref().map(|path| label_map(path, &fixed)).transpose()?;
    let points = args.points.as_deref().map(points::read).transpose()?;
    let read_s = started.elapsed().as_secs_f64();
    ui.note("registering");
    let (map, mut document) = match &args.from_field {
        Some(path) => (stored_field(path, &fixed)?, json!({"method": "field", "field": path})),
        None => estimated(args, &fixed, &moving)?,
    };
    let registered_s = started.elapsed().as_secs_f64() - read_s;
    let still = Map::identity(fixed.grid());
    let warped = map.warp(&moving, fixed.grid());
    let seen = warped.seen.iter().filter(|seen| **seen).count() as f64;
    if seen == 0.0 {
        let error =
            anyhow!("the field leads out of the moving image everywhere: is it of this pair?");
        return Err(Failure::refused("no_overlap", error));
    }
    drop(signals);
    output::put(&args.out, &write_i16(&whole_numbers(&warped.volume)), &inputs)?;
    document["seen_share"] = json!(seen / warped.seen.len() as f64);
    if let Some(path) = &args.field {
        let field = write_displacements(fixed.grid(), |z| map.displacements(fixed.grid(), z));
        output::put(path, &field, &inputs)?;
    }
    if let (Some(labels), Some(path)) = (&labels, &args.labels_out) {
        let moved = map.warp_labels(labels, fixed.grid());
        if let Some(own) = &fixed_labels {
            let before = still.warp_labels(labels, fixed.grid());
            document["dice"] = overlaps(own, [&before, &moved]);
        }
        output::put(path, &write_u8(&moved), &inputs)?;
    }
    if let (Some(points), Some(to)) = (&points, &args.points_out) {
        points::write(points, to, &map, &inputs)?;
        let outside = points.iter().filter(|point| !holds(fixed.grid(), **point)).count();
        document["points"] = json!(points.len());
        document["points_outside"] = json!(outside);
    }
    if let Some(path) = &args.picture {
        let before = still.warp(&moving, fixed.grid()).volume;
        let pair = Pair { fixed: &fixed, before: &before, after: &warped.volume };
        let picture = checkerboard(&pair, &caption(&document));
        output::put(path, &picture.png().map_err(Failure::failed)?, &inputs)?;
    }
    document["out"] = json!(args.out);
    document["seconds"] = json!({"read": rounded(read_s), "register": rounded(registered_s),
        "total": rounded(started.elapsed().as_secs_f64())});
    document["peak_memory_mib"] = json!(peak_memory_mib().round());
    ui.result(&document, summary(&document, &args.out))
}

fn estimated(
    args: &Args,
    fixed: &Volume<f32>,
    moving: &Volume<f32>,
) -> Result<(Map, Value), Failure> {
    let mut settings = Settings { spacing_mm: args.spacing, ..Settings::default() };
    if args.wide {
        settings.deformable = DeformParams::wide();
    }
    if args.rigid {
        settings.deformable.levels.clear();
    }
    let found = align(fixed, &[moving], &settings).map_err(refused)?;
    let Some(Alignment { kind, map, quality }) = found.into_iter().next() else {
        return Err(Failure::failed(anyhow!("nothing was registered")));
    };
    if let AlignmentKind::Failed(doubt) = kind {
        let error = anyhow!(
            "the images could not be aligned ({}): they differ by {:.1} of 60 bits of their descriptors after it, {:.0} % of the fixed image covered",
            doubt.name(),
            quality.bits_after,
            100.0 * quality.coverage
        );
        return Err(Failure::refused("alignment_failed", error));
    }
    let (method, doubt) = match kind {
        AlignmentKind::Untouched => ("already_aligned", None),
        AlignmentKind::Resampled => ("resampled", None),
        AlignmentKind::Deformed => ("deformable", None),
        AlignmentKind::Rigid(doubt) => ("rigid", (!args.rigid).then_some(doubt.name())),
        AlignmentKind::Failed(doubt) => ("failed", Some(doubt.name())),
    };
    let document = json!({
        "method": method, "doubt": doubt,
        "distance_bits": [rounded(quality.bits_before), rounded(quality.bits_after)],
        "folding": quality.jacobian.folding, "jacobian_deviation": rounded(quality.jacobian.deviation),
        "coverage": rounded(quality.coverage), "mean_shift_mm": rounded(quality.mean_shift_mm),
    });
    Ok((map, document))
}

fn stored_field(path: &Path, fixed: &Volume<f32>) -> Result<Map, Failure> {
    let bytes = read_file(path)?;
    let field = read_displacements(&bytes, fixed.grid()).map_err(|error| {
        let code = error.code();
        Failure::refused(code, anyhow::Error::new(error).context(path.display().to_string()))
    })?;
    Ok(Map::of_displacements(fixed.grid(), &field))
}

fn image(path: &Path) -> Result<Volume<f32>, Failure> {
    read(&read_file(path)?).map_err(|error| damaged(path, error))
}

fn label_map(path: &Path, image: &Volume<f32>) -> Result<LabelMap, Failure> {
    let labels = read_label_map(path)?;
    if labels.grid().matches(image.grid()) {
        return Ok(labels);
    }
    let error = anyhow!("{}: the label map does not lie on the grid of its image", path.display());
    Err(Failure::refused("geometry_mismatch", error))
}

fn refused(error: RegisterError) -> Failure {
    Failure::refused(error.code(), error)
}

/// Dice overlap of every label that both maps have, before and after.
fn overlaps(own: &LabelMap, moved: [&LabelMap; 2]) -> Value {
    let mask = |labels: &LabelMap, label: u8| labels.voxels().mapv(|l| l == label);
    let has = |labels: &LabelMap, label: u8| labels.voxels().iter().any(|l| *l == label);
    let shared = (1..=u8::MAX).filter(|label| has(own, *label) && has(moved[0], *label));
    let overlap = |label: u8| {
        let own = mask(own, label);
        let dice = moved.map(|moved| rounded(dice(&own, &mask(moved, label))));
        (label.to_string(), json!(dice))
    };
    shared.map(overlap).collect::<serde_json::Map<_, _>>().into()
}

fn whole_numbers(volume: &Volume<f32>) -> Volume<i16> {
    let voxels = volume.voxels().mapv(|v| v.round().clamp(-32_768.0, 32_767.0) as i16);
    Volume::new(std::sync::Arc::clone(volume.grid()), voxels)
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn caption(document: &Value) -> String {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let method = document["method"].as_str().unwrap_or("");
    match &document["distance_bits"] {
        Value::Array(bits) => format!(
            "{method}: descriptor distance {:.1} -> {:.1} of 60 bits, moved by {:.1} mm on average",
            number(&bits[0]),
            number(&bits[1]),
            number(&document["mean_shift_mm"])
        ),
        _ => format!("{method}: displacements as stored"),
    }
}

fn summary(document: &Value, out: &Path) -> String {
    let mut lines = vec![format!("{}: {}", out.display(), caption(document))];
    if let Some(doubt) = document["doubt"].as_str() {
        lines.push(format!("not deformed: {doubt}"));
    }
    if document["method"] == "rigid" && document["mean_shift_mm"] == 0.0 {
        lines.push("left where it was: no turn or shift brings the images nearer".to_owned());
    }
    let share = |name: &str| 100.0 * document[name].as_f64().unwrap_or(0.0);
    if document["folding"].is_number() {
        lines.push(format!(
            "folding {:.3} %, the moving image shows {:.1} % of the fixed one's tissue",
            share("folding"),
            share("coverage")
        ));
    }
    if let Some(dice) = document["dice"].as_object() {
        let line = |(label, pair): (&String, &Value)| {
            format!("  label {label}: Dice {} -> {}", pair[0], pair[1])
        };
        lines.extend(dice.iter().map(line));
    }
    if let Some(outside @ 1..) = document["points_outside"].as_u64() {
        lines.push(format!(
            "{} of {} points lie outside the fixed image: they are carried as its border is",
            outside, document["points"]
        ));
    }
    lines.join("\n")
}
