//! `inspect`: what every series in a folder is, which would be read, and why.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde::Serialize;

use super::engines::{self, EngineArgs};
use super::study_files::key_of;
use super::{Failure, Ui};
use crate::analyze::series_record;
use crate::codes::{Meaning, of_study};
use crate::intake::by_hand::survey::{Survey, survey};
use crate::intake::folder::stranger_kind::Counts;
use crate::intake::reading::thinned::thinned;
use crate::intake::study::decide::decide;
use crate::intake::study::decided::Decided;
use crate::intake::{GateParams, Refusal, StudyFiles};
use crate::report::output;
use crate::report::types::SeriesRecord;
use crate::ui::counted;
use hepalert_bundles::Bundle;
use hepalert_phases::coarse::Coarse;
use hepalert_pictures::contact::{Strip, sheet};
use hepalert_study::phase::Phase;

/// Slices of a thumbnail are at least this far apart.
const THUMBNAIL_MM: f64 = 4.0;

/// Arguments of `inspect`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// A folder of DICOM slices or NIfTI files, or one file.
    pub input: PathBuf,
    /// Write a picture with four slices of every series to this PNG file.
    #[arg(long = "picture-out", alias = "picture")]
    pub picture: Option<PathBuf>,
    /// Take the site's rules for phases from this configuration.
    #[arg(long)]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, Serialize)]
struct Document {
    phases: Vec<&'static str>,
    studies: Vec<StudyDocument>,
    passed_over: Counts,
}

#[derive(Debug, Serialize)]
struct StudyDocument {
    study: String,
    place: PathBuf,
    refused: Option<RefusalDocument>,
    series: Vec<SeriesDocument>,
    set_aside: Vec<AsideDocument>,
}

#[derive(Debug, Serialize)]
struct RefusalDocument {
    code: &'static str,
    detail: String,
    advice: &'static str,
}

#[derive(Debug, Serialize)]
struct SeriesDocument {
    description: String,
    #[serde(flatten)]
    record: SeriesRecord,
}

#[derive(Debug, Serialize)]
struct AsideDocument {
    series_number: Option<i64>,
    description: String,
    files: usize,
    why: String,
}

impl From<&Refusal> for RefusalDocument {
    fn from(refusal: &Refusal) -> RefusalDocument {
        RefusalDocument {
            code: refusal.code.as_str(),
            detail: refusal.detail.clone(),
            advice: refusal.code.advice(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Exit 3 if nothing can be read or no CT is there, 4 without an engine.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    engines::require_there(&args.input)?;
    if let Some(picture) = &args.picture {
        output::check_picture(picture, &[&args.input])?;
    }
    let settings = args.engine.settings()?;
    let bundle = Bundle::open(&settings.bundle).map_err(engines::unusable)?;
    let expected = bundle.phases().to_vec();
    let rules = super::analyze::rules(args.config.as_deref())?;
    let mut recogniser = settings.recogniser().map_err(engines::unusable)?;
    let found = survey(&args.input, &expected, &rules, &settings.gate, &key_of)
        .map_err(engines::refused_at(&args.input))?;
    let decided: Vec<(&StudyFiles, Decided)> = found
        .studies
        .iter()
        .map(|study| (study, decide(study, &expected, &settings.gate, recogniser.as_mut())))
        .collect();
    let document = document(&found, &decided, &expected);
    if let Some(picture) = &args.picture {
        draw(picture, &args.input, &found, &decided, &settings.gate)?;
    }
    let failure = document.studies.is_empty().then(|| {
        let error = anyhow::anyhow!("{}: no CT was found", args.input.display());
        Failure::refused("no_ct_series", error)
    });
    ui.result_of(&document, text(&document), failure)
}

fn document(found: &Survey, decided: &[(&StudyFiles, Decided)], expected: &[Phase]) -> Document {
    let aside = |key: &str| -> Vec<AsideDocument> {
        let of = found.aside.iter().filter(|aside| aside.study.as_str() == key);
        of.map(|aside| AsideDocument {
            series_number: aside.series_number,
            description: aside.description.clone(),
            files: aside.files,
            why: aside.why.clone(),
        })
        .collect()
    };
    let mut studies: Vec<StudyDocument> = decided
        .iter()
        .map(|(study, decided)| StudyDocument {
            study: study.key.to_string(),
            place: study.place(),
            refused: decided.refusal.as_ref().map(RefusalDocument::from),
            series: decided
                .series
                .iter()
                .map(|line| SeriesDocument {
                    description: described(found, &study.series(line.at).files),
                    record: series_record(line),
                })
                .collect(),
            set_aside: aside(study.key.as_str()),
        })
        .collect();
    studies.extend(found.refused.iter().map(|one| StudyDocument {
        study: one.key.to_string(),
        place: one.place.clone(),
        refused: Some(RefusalDocument::from(&one.refusal)),
        series: Vec::new(),
        set_aside: aside(one.key.as_str()),
    }));
    let phases = expected.iter().map(|phase| phase.code()).collect();
    Document { phases, studies, passed_over: found.passed_over.clone() }
}

fn described(found: &Survey, files: &[PathBuf]) -> String {
    files.first().map_or(String::new(), |path| found.description(path).to_owned())
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    let number = |n: Option<i64>| n.map_or("-".to_owned(), |n| n.to_string());
    for study in &document.studies {
        let _ = writeln!(text, "study {} in {}", study.study, study.place.display());
        for SeriesDocument { description, record } in &study.series {
            let thick = record.thickness_mm.map_or(String::new(), |mm| format!(" x {mm:.1} mm"));
            let mark = record.chosen.map_or("  ", |_| "->");
            let _ = writeln!(
                text,
                "{mark} series {:>4}  {:<30}  {}{thick}, acquisition {}: {} {:.2}\n      {}",
                number(record.series_number),
                description,
                counted(record.slices, "slice"),
                record.acquisition,
                record.phase.map_or("none", Phase::code),
                record.probability,
                record.why
            );
        }
        for aside in &study.set_aside {
            let n = number(aside.series_number);
            let (description, files, why) = (&aside.description, aside.files, &aside.why);
            let _ = writeln!(
                text,
                "   series {n:>4}  {description:<30}  {}: {why}",
                counted(files, "file")
            );
        }
        match &study.refused {
            Some(refusal) => {
                let RefusalDocument { code, detail, advice } = refusal;
                let _ = writeln!(text, "   refused: {code} ({detail}); {advice}");
            }
            None => text.push_str("   would be analysed\n"),
        }
    }
    if document.studies.is_empty() {
        text.push_str("no CT was found\n");
    }
    for (kind, count) in &document.passed_over {
        let Some(Meaning { sentence, advice, .. }) = of_study(kind.as_str()) else { continue };
        let _ = writeln!(text, "passed over: {count} {kind} ({sentence}); {advice}");
    }
    text.trim_end().to_owned()
}

/// The contact sheet.
fn draw(
    picture: &Path,
    input: &Path,
    found: &Survey,
    decided: &[(&StudyFiles, Decided)],
    gate: &GateParams,
) -> Result<(), Failure> {
    let mut strips = Vec::new();
    for (study, decided) in decided {
        for line in &decided.series {
            let files = study.series(line.at);
            let coarse = thinned(files, gate, THUMBNAIL_MM).ok();
            let number = line.scan.recon.series_number.map_or("-".to_owned(), |n| n.to_string());
            let is_split = files.pick.is_split;
            let part = if is_split { format!(" [{}]", line.acquisition) } else { String::new() };
            let phase = line.phase.map_or("none", Phase::code);
            let chosen = line.chosen.map_or(String::new(), |p| format!(", read as {p}"));
            strips.push(Strip {
                title: format!(
                    "{number}{part} {}: {phase} {:.2}{chosen}",
                    described(found, &files.files),
                    line.probability
                ),
                volume: coarse.map(|volume| Coarse::of(&volume)),
                chosen: line.chosen.is_some(),
            });
        }
    }
    let png = sheet(&strips).map_err(Failure::failed)?;
    output::put(picture, &png, &[input])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hepalert_voxels::volume::dicom::write::{SeriesTags, write_slice};
    use hepalert_voxels::volume::{Grid, Volume};
    use ndarray::Array3;

    use super::*;
    use crate::intake::PhaseRules;

    fn tags(number: u32) -> SeriesTags {
        SeriesTags {
            patient_id: "P".to_owned(),
            patient_name: "P".to_owned(),
            study_uid: "1.2".to_owned(),
            series_uid: format!("1.2.{number}"),
            frame_of_reference_uid: "1.3".to_owned(),
            study_id: "1".to_owned(),
            date: "20260102".to_owned(),
            study_time: "080000".to_owned(),
            acquisition_time: "080500".to_owned(),
            series_number: number,
            series_description: format!("text of {number}"),
            contrast_agent: None,
            kvp: 120.0,
            kernel: "B".to_owned(),
            manufacturer: "M".to_owned(),
        }
    }

    #[test]
    fn of_more_series_than_are_looked_at_each_line_has_its_own_text() {
        let dir = tempfile::tempdir().unwrap();
        let grid = Arc::new(Grid::axial([2, 8, 8], [5.0, 0.8, 0.8], [0.0; 3]));
        for number in 1_u32..=20 {
            let voxels = Array3::from_elem(grid.shape(), i16::try_from(number).unwrap());
            let volume = Volume::new(grid.clone(), voxels);
            // The first four are the shortest, and are not looked at.
            for z in 0..if number <= 4 { 1 } else { 2 } {
                let bytes = write_slice(&volume, z, &tags(number)).unwrap();
                std::fs::write(dir.path().join(format!("{number}-{z}.dcm")), bytes).unwrap();
            }
        }
        let (gate, expected) = (GateParams::default(), [Phase::Vp]);
        let found = survey(dir.path(), &expected, &PhaseRules::default(), &gate, &key_of).unwrap();
        let decided: Vec<_> = found
            .studies
            .iter()
            .map(|study| (study, decide(study, &expected, &gate, None)))
            .collect();
        let document = document(&found, &decided, &expected);
        let series = &document.studies[0].series;
        assert_eq!((found.studies[0].candidates.len(), series.len()), (20, 16));
        for SeriesDocument { description, record } in series {
            assert_eq!(*description, format!("text of {}", record.series_number.unwrap()));
        }
    }
}
