//! `hepalert shuffle`: lesion-shuffle patches for training, by the code that inference uses.
//!
//! Writes an nnU-Net raw data set and, if asked, a contact sheet of what was written.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::anyhow;
use clap::builder::PossibleValue;
use serde::Serialize;

use super::segment::open_bundle;
use super::study_files::{PhaseFile, Relabel, read_label_file, read_study};
use super::{Exit, Failure, Ui, label_file, words};
use crate::report::output;
use crate::ui::counted;
use hepalert_bundles::Role;
use hepalert_cascade::detect::Detection;
use hepalert_cascade::detect::seg2det::DetectParams;
use hepalert_cascade::pipeline::candidate;
use hepalert_cascade::reclassify::{
    LIVER_CLASS, PatchLesion, Prepared, Sampling, Scheme, content, draw, patch_generator,
    study_seed,
};
use hepalert_study::study::AlignedStudy;
use hepalert_voxels::image::normalise::Normalisation;
use hepalert_voxels::volume::LabelMap;

mod dataset;
mod sheet;

use dataset::{Dataset, Values};
use sheet::{Row, contact_sheet};

/// Tiles per row of a contact sheet.
const SHEET_COLUMNS: usize = 8;

/// Patches per lesion and scheme that may be asked for.
const MAX_COUNT: u32 = 10_000;

/// Write lesion-shuffle patches for training.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A phase (nc, ap, vp or dp) and its NIfTI file, or a folder with one DICOM series; once per
    /// phase.
    #[arg(long = "phase", value_name = "PHASE=PATH", required = true)]
    phases: Vec<PhaseFile>,
    /// The label map: 1 to 6 lesions, 7 liver, 8 vessels.
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// Read label values as others, like 1=7,2=3.
    #[arg(long, default_value = "", value_parser = relabel, value_name = "FROM=TO,..")]
    relabel: Relabel,
    /// The first network's label map: what it found wrongly and what it missed is shuffled
    /// in addition, as hard cases.
    #[arg(long, value_name = "FILE")]
    predicted: Option<PathBuf>,
    /// Like --relabel, for --predicted.
    #[arg(long, default_value = "", value_parser = relabel, value_name = "FROM=TO,..")]
    relabel_predicted: Relabel,
    /// Which of op, on, sp, sn (original and shuffled, positive and negative).
    #[arg(long, value_delimiter = ',', default_value = "op,on,sp,sn", value_parser = schemes())]
    scheme: Vec<Scheme>,
    /// Patches per lesion and scheme.
    #[arg(long, default_value_t = 20, value_parser = words::number(1..=MAX_COUNT))]
    count: u32,
    /// The same seed gives the same patches.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The name that files begin with.
    #[arg(long, default_value = "case")]
    case: String,
    /// Take voxel size, patch size and intensities from this engine bundle.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["spacing", "patch", "intensity"])]
    engine: Option<PathBuf>,
    /// The second network's voxel size, z,y,x.
    #[arg(long, default_value = "5,1.5,1.5", value_parser = triple::<f64>, value_name = "MM")]
    spacing: [f64; 3],
    /// The second network's patch size, z,y,x.
    #[arg(long, default_value = "16,64,64", value_parser = triple::<usize>, value_name = "VOXELS")]
    patch: [usize; 3],
    /// Intensities of every phase: mean, standard deviation, lower and upper clip in HU.
    #[arg(long, default_value = "100,50,-150,250", value_parser = intensity, value_name = "HU")]
    intensity: Normalisation,
    /// What the written voxels mean.
    #[arg(long, value_enum, default_value_t = Values::Hu)]
    values: Values,
    /// The folder of the raw data set.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// A picture of the first patches of each kind.
    #[arg(long = "picture-out", alias = "contact-sheet", value_name = "FILE.png")]
    contact_sheet: Option<PathBuf>,
}

/// The result as `--json` prints it.
#[derive(Debug, Serialize)]
struct Summary {
    lesions: usize,
    false_positives: usize,
    false_negatives: usize,
    patches_written: usize,
    cases_in_folder: usize,
}

/// A kind of patch: a row of the contact sheet and a part of the file names.
struct Group<'a> {
    code: String,
    heading: String,
    scheme: Scheme,
    /// Lesion, its number in file names, and the class of its transplant; largest first.
    lesions: Vec<(&'a Source, u8)>,
    /// Patch numbers of each lesion.
    first: u32,
}

/// A lesion to be shuffled.
struct Source {
    id: u32,
    label: u8,
    caption: String,
    carried: PatchLesion,
}

/// Runs the command.
///
/// # Errors
/// Refused if the files do not make one study, failed if nothing can be written.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    if args.case.is_empty()
        || !args.case.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        let reason = "--case takes letters, digits, hyphens, dots and underscores";
        return Err(Failure::new(Exit::Usage, anyhow!(reason)));
    }
    let phases = args.phases.iter().map(|file| file.path.as_path());
    let labels = [Some(&args.labels), args.predicted.as_ref()];
    let inputs: Vec<&Path> =
        phases.chain(labels.into_iter().flatten().map(PathBuf::as_path)).collect();
    if let Some(path) = &args.contact_sheet {
        output::check_picture(path, &inputs)?;
    }
    let (study, _) = read_study(&args.phases)?.warned(ui);
    let sampling = sampling(args, study.phases().len())?;
    // Patches lie as the engine will see them.
    let (study, _) = study.brought_into(sampling.orientation);
    let labels = read_label_file(&args.labels, &args.relabel, &study)?;
    let prepared = Prepared::new(&study, &labels, &sampling)
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    let found = label_file::lesions(&args.labels, &labels, &DetectParams::default())?;
    let lesions = sources(&found, &prepared, |_| true);
    let (wrong, missed) = hard_cases(args, &study, &labels, &found, &prepared)?;
    let mut groups = groups(args, &lesions);
    groups.extend(hard_groups(args, &wrong, &missed));
    let phases: Vec<_> = study.phases().iter().map(|(phase, _)| *phase).collect();
    let dataset = Dataset::open(&args.out, &inputs, args.values, &phases, &sampling)?;
    let (rows, patches_written) = write(args, ui, &study, &prepared, &groups, &dataset)?;
    if let Some(path) = &args.contact_sheet {
        let title = format!("{}: liver cyan, shuffled lesion yellow, other lesions red", args.case);
        let png = contact_sheet(&title, &rows).png().map_err(anyhow::Error::new)?;
        output::put(path, &png, &inputs)?;
    }
    let summary = Summary {
        lesions: lesions.len(),
        false_positives: wrong.len(),
        false_negatives: missed.len(),
        patches_written,
        cases_in_folder: dataset.close()?,
    };
    let text = format!(
        "{} of {} written to {} ({} there now)",
        counted(summary.patches_written, "patch"),
        counted(summary.lesions, "lesion"),
        args.out.display(),
        counted(summary.cases_in_folder, "case")
    );
    ui.result(&summary, text)
}

/// The second network's, or what the arguments say.
fn sampling(args: &Args, phases: usize) -> Result<Sampling, Failure> {
    let Some(folder) = &args.engine else {
        let channels = vec![args.intensity; phases];
        return Ok(Sampling {
            spacing_mm: args.spacing,
            patch: args.patch,
            channels,
            orientation: None,
        });
    };
    let unusable = |error: anyhow::Error| Failure::new(Exit::Engine, error);
    let bundle = open_bundle(folder)?;
    let plan = bundle.require(Role::Reclassify).map_err(|error| unusable(error.into()))?;
    Sampling::of_plan(plan).map_err(|error| unusable(error.into()))
}

/// Lesions that have a voxel in the liver region, largest first.
fn sources(
    found: &[Detection],
    prepared: &Prepared,
    wanted: impl Fn(&Detection) -> bool,
) -> Vec<Source> {
    let mut order: Vec<&Detection> = found.iter().filter(|one| wanted(one)).collect();
    order.sort_by_key(|one| (std::cmp::Reverse(one.voxels), one.id));
    order
        .into_iter()
        .map(|one| Source {
            id: one.id,
            label: one.kind.label(),
            caption: format!("#{} {} {:.1} cm3", one.id, one.kind, one.volume_cm3),
            carried: PatchLesion::of(&candidate(one), prepared),
        })
        .filter(|source| !source.carried.points.is_empty())
        .collect()
}

/// The first network's false positives and false negatives: lesions of one label map that
/// touch no lesion of the other.
fn hard_cases(
    args: &Args,
    study: &AlignedStudy,
    labels: &LabelMap,
    found: &[Detection],
    prepared: &Prepared,
) -> Result<(Vec<Source>, Vec<Source>), Failure> {
    let Some(path) = &args.predicted else { return Ok((Vec::new(), Vec::new())) };
    let predicted = read_label_file(path, &args.relabel_predicted, study)?;
    let claimed = label_file::lesions(path, &predicted, &DetectParams::default())?;
    let wrong = sources(&claimed, prepared, |one| !touches_lesion(one, labels));
    let missed = sources(found, prepared, |one| !touches_lesion(one, &predicted));
    Ok((wrong, missed))
}

fn touches_lesion(detection: &Detection, labels: &LabelMap) -> bool {
    let [z0, y0, x0] = detection.region.lo;
    detection.mask.indexed_iter().any(|((z, y, x), &on)| {
        on && hepalert_study::anatomy::is_lesion(labels.voxels()[[z0 + z, y0 + y, x0 + x]])
    })
}

fn groups<'a>(args: &Args, lesions: &'a [Source]) -> Vec<Group<'a>> {
    let heading = |scheme| match scheme {
        Scheme::OriginalPositive => "original positive: the lesion where it is",
        Scheme::OriginalNegative => "original negative: liver without lesions",
        Scheme::ShuffledPositive => "shuffled positive: the lesion carried to such liver",
        Scheme::ShuffledNegative => "shuffled negative: the lesion covered with healthy liver",
    };
    let group = |&scheme: &Scheme| Group {
        code: scheme.code().to_owned(),
        heading: heading(scheme).to_owned(),
        scheme,
        lesions: lesions.iter().map(|source| (source, source.label)).collect(),
        first: 0,
    };
    args.scheme.iter().map(group).collect()
}

/// False positives where they are and carried, both as healthy liver; missed lesions
/// carried once more, to other places than in their ordinary group.
fn hard_groups<'a>(args: &Args, wrong: &'a [Source], missed: &'a [Source]) -> Vec<Group<'a>> {
    let as_liver = || wrong.iter().map(|source| (source, LIVER_CLASS)).collect::<Vec<_>>();
    let hard = |code: &str, heading: &str, scheme, lesions, first| Group {
        code: code.to_owned(),
        heading: heading.to_owned(),
        scheme,
        lesions,
        first,
    };
    let (op, sp) = (Scheme::OriginalPositive, Scheme::ShuffledPositive);
    let missed = missed.iter().map(|source| (source, source.label)).collect();
    let mut groups = vec![
        hard("fpop", "false positive where it is, truth liver", op, as_liver(), 0),
        hard("fpsp", "false positive carried, truth liver", sp, as_liver(), 0),
        hard("fnsp", "missed lesion carried", sp, missed, args.count),
    ];
    groups.retain(|group| !group.lesions.is_empty());
    groups
}

/// Draws and writes every patch of every group; keeps the first of each for the sheet.
fn write(
    args: &Args,
    ui: &Ui,
    study: &AlignedStudy,
    prepared: &Prepared,
    groups: &[Group<'_>],
    dataset: &Dataset<'_>,
) -> Result<(Vec<Row>, usize), Failure> {
    // An engine's fingerprint is part of the seed in the field; patches for training come
    // before there is an engine.
    let seed = study_seed(content(study), "training", args.seed);
    let nothing =
        Source { id: 0, label: 0, caption: "no lesion".into(), carried: PatchLesion::default() };
    let jobs = |group: &Group<'_>| match group.scheme {
        Scheme::OriginalNegative => group.lesions.len().max(1),
        _ => group.lesions.len(),
    };
    let total: usize = groups.iter().map(jobs).sum::<usize>() * args.count as usize;
    let mut progress = ui.progress("patches");
    let (mut rows, mut done) = (Vec::with_capacity(groups.len()), 0);
    for group in groups {
        let mut tiles = Vec::new();
        for (number, n) in (0..args.count).flat_map(|k| (0..jobs(group)).map(move |n| (k, n))) {
            let (source, class) = group.lesions.get(n).copied().unwrap_or((&nothing, 0));
            let index = group.first + number;
            let mut generator =
                patch_generator(seed, source.carried.fingerprint, group.scheme, index);
            let patch = draw(prepared, &source.carried, class, group.scheme, &mut generator);
            let name = format!("{}_{}_{:04}_{index:04}", args.case, group.code, source.id);
            dataset.write(&name, &patch, prepared)?;
            if args.contact_sheet.is_some() && tiles.len() < SHEET_COLUMNS {
                tiles.push((format!("{} /{index}", source.caption), patch));
            }
            done += 1;
            progress.step(done, total);
        }
        rows.push(Row { heading: group.heading.clone(), tiles });
    }
    Ok((rows, done))
}

fn relabel(text: &str) -> Result<Relabel, String> {
    if text.is_empty() { Ok(Relabel::default()) } else { text.parse() }
}

fn schemes() -> impl clap::builder::TypedValueParser<Value = Scheme> {
    words::one_of(["op", "on", "sp", "sn"].map(PossibleValue::new))
}

fn numbers<T: FromStr, const N: usize>(text: &str) -> Result<[T; N], String>
where
    T::Err: Display,
{
    let parts: Vec<T> = text
        .split(',')
        .map(|part| part.trim().parse().map_err(|error| format!("`{part}`: {error}")))
        .collect::<Result<_, _>>()?;
    parts.try_into().map_err(|_| format!("write {N} numbers with commas between"))
}

fn triple<T: FromStr>(text: &str) -> Result<[T; 3], String>
where
    T::Err: Display,
{
    numbers(text)
}

fn intensity(text: &str) -> Result<Normalisation, String> {
    let [mean, std, lower, upper] = numbers::<f64, 4>(text)?;
    let sound = [mean, std, lower, upper].iter().all(|n| n.is_finite()) && std > 0.0;
    if !sound || lower >= upper {
        return Err("write mean,std,lower,upper with std above 0 and lower below upper".into());
    }
    Ok(Normalisation::Ct { mean, std, lower, upper })
}
