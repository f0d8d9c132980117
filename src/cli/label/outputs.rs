//! What is told of labels: where two differ, who did what, a training set of them, and objects for an
//! archive.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::{Args, Failure, Ui, failure};
use crate::ui::counted;
use hepalert_labels::cases::export::{self, Wish};
use hepalert_labels::cases::files::put;
use hepalert_labels::cases::order::Order;
use hepalert_labels::cases::segment::{Made, segmentation_of};
use hepalert_labels::cases::stored::{compare_labels, first_of, history_of};
use hepalert_labels::cases::{Case, CaseError, Folder, Who};

/// Places listed of a case for people; JSON has them all.
const SHOWN: usize = 5;

pub(super) fn compare(
    args: &Args,
    folder: &Folder,
    who: [&Who; 2],
    ui: &Ui,
) -> Result<(), Failure> {
    let mut found = Vec::new();
    let cases = folder.cases().iter();
    for case in cases.filter(|case| args.case.as_ref().is_none_or(|wanted| *wanted == case.id)) {
        let image = match &args.image {
            Some(name) => match case.image(name) {
                Ok(image) => image,
                Err(_) => continue,
            },
            None => case.first_image(),
        };
        match compare_labels(folder, case, image, who) {
            Ok(comparison) => found.push((case, comparison)),
            Err(CaseError::Unknown { .. }) => {}
            Err(other) => return Err(failure(other)),
        }
    }
    // The most disagreement first; two empty maps agree.
    let dice = |index: usize| found[index].1.mean_dice().unwrap_or(1.0);
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by(|a, b| dice(*a).total_cmp(&dice(*b)));
    if args.order {
        let mut known = Order::read(folder.work()).map_err(failure)?;
        let scores = order.iter().map(|index| (found[*index].0.id.clone(), 1.0 - dice(*index)));
        known.disagreement.extend(scores);
        known.keep(folder.work()).map_err(failure)?;
    }
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (case, comparison) in order.iter().map(|index| &found[*index]) {
        rows.push(json!({"case": case.id, "mean_dice": comparison.mean_dice(),
            "overlaps": comparison.overlaps, "disagreements": comparison.disagreements,
            "left_out": comparison.left_out}));
        let mean = comparison.mean_dice().map_or("both empty".to_owned(), |d| format!("{d:.4}"));
        lines.push(format!("{}: mean Dice {mean}", case.id));
        let name = |label: u8| match folder.meaning().names().get(&label) {
            Some(name) => name.clone(),
            None => label.to_string(),
        };
        lines.extend(comparison.overlaps.iter().map(|o| {
            format!("  {}: Dice {:.4} ({} and {} voxels)", name(o.label), o.dice, o.first, o.second)
        }));
        lines.extend(comparison.disagreements.iter().take(SHOWN).map(|place| {
            let region = &place.region;
            format!(
                "  {} against {}: {:.2} cm3 at voxel {:?}",
                name(place.first),
                name(place.second),
                region.volume_cm3,
                region.at
            )
        }));
    }
    lines.push(format!(
        "{} have labels of {} and of {}",
        counted(rows.len(), "case"),
        who[0],
        who[1]
    ));
    let document =
        json!({"first": who[0].to_string(), "second": who[1].to_string(), "cases": rows});
    ui.result(&document, lines.join("\n"))
}

pub(super) fn history(case: &Case, folder: &Folder, ui: &Ui) -> Result<(), Failure> {
    let told = history_of(folder, case).map_err(failure)?;
    let lines: Vec<String> = told
        .iter()
        .map(|told| {
            let entry = &told.entry;
            let kept = if told.kept { "" } else { ", not in the labels that are there" };
            format!(
                "{} {} {}: {} ({} voxels){kept}",
                entry.when, entry.reader, entry.image, entry.what, entry.voxels
            )
        })
        .chain([format!("{} of {}", counted(told.len(), "entry"), case.id)])
        .collect();
    ui.result(&json!({"case": case.id, "history": told}), lines.join("\n"))
}

pub(super) fn export(args: &Args, folder: &Folder, out: &Path, ui: &Ui) -> Result<(), Failure> {
    let wish = Wish { whose: args.whose.clone(), images: args.channels.clone() };
    let written = export::export(folder, &wish, out).map_err(failure)?;
    let mut lines: Vec<String> = written
        .left_out
        .iter()
        .map(|left| format!("left out: {}: {}", left.case, left.why))
        .collect();
    lines.push(format!("{} in {}", counted(written.cases, "case"), written.out.display()));
    ui.result(&written, lines.join("\n"))
}

/// `OUT/CASE/IMAGE.dcm` of every image of every case that one of those named has labelled.
pub(super) fn segmentations(
    args: &Args,
    folder: &Folder,
    out: &Path,
    ui: &Ui,
) -> Result<(), Failure> {
    let (mut written, mut left_out) = (Vec::new(), Vec::new());
    let cases = folder.cases().iter();
    for case in cases.filter(|case| args.case.as_ref().is_none_or(|wanted| *wanted == case.id)) {
        for image in &case.images {
            let place = format!("{}/{}", case.id, image.name);
            let Some((who, labels, revision)) =
                first_of(folder, case, image, &args.whose).map_err(failure)?
            else {
                left_out.push(json!({"image": place, "why": "nobody named has labelled it"}));
                continue;
            };
            let who = who.to_string();
            let made = Made {
                who: &who,
                revision: revision.as_deref().unwrap_or("given"),
                version: env!("CARGO_PKG_VERSION"),
                when: Timestamp::now(),
            };
            match segmentation_of(image, &labels, folder.meaning(), &made) {
                Ok(object) => {
                    let path = out.join(&case.id).join(format!("{}.dcm", image.name));
                    put(&path, &object.bytes).map_err(failure)?;
                    written.push(json!({"image": place, "labels": who, "file": path,
                        "sop_instance_uid": object.sop_uid}));
                }
                Err(error @ (CaseError::Export(_) | CaseError::Refused(_))) => {
                    left_out.push(json!({"image": place, "why": error.to_string()}));
                }
                Err(other) => return Err(failure(other)),
            }
        }
    }
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines: Vec<String> = left_out
        .iter()
        .map(|left| format!("left out: {}: {}", text(&left["image"]), text(&left["why"])))
        .collect();
    lines.push(format!("{} in {}", counted(written.len(), "segmentation"), out.display()));
    if written.is_empty() {
        let error = anyhow::anyhow!("no labels can be exported: {}", lines.join("; "));
        return Err(Failure::refused("export_refused", error));
    }
    let document = json!({"out": out, "written": written, "left_out": left_out});
    ui.result(&document, lines.join("\n"))
}
