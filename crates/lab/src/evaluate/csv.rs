//! One line per case and variant, for a spreadsheet.

use std::fmt::Write;

use super::Variant;
use super::case::CaseResult;
use super::dice::Shared;
use hepalert_study::outcome::PatientClass;

/// The columns.
pub const HEAD: &str = "case,variant,class_true,class,lesions_true,lesions,tp,fl,fn,fp,\
    malignant_tp,malignant_fl,malignant_fn,malignant_fp,dice,dice_malignant";

/// A field; line ends are none of its own.
pub fn quoted(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    match text.contains([',', '"']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

/// The table: strict counts, where every lesion counts once; Dice's coefficient of lesion voxels
/// under whatever label, empty where neither side has any. The joint decision is a class or
/// `uncertain`, and counts no lesions.
pub fn csv<'a>(
    cases: impl Iterator<Item = (&'a str, &'a CaseResult)>,
    asked: &[Variant],
) -> String {
    let mut text = format!("{HEAD}\n");
    let dice = |shared: &Shared| shared.dice().map_or(String::new(), |dice| format!("{dice:.4}"));
    for (name, case) in cases {
        // A name is that of a file: it may hold anything.
        let name = quoted(name);
        for (variant, view) in case.views.iter().filter(|(variant, _)| asked.contains(variant)) {
            let (all, malignant) = (view.strict.all(), view.strict.malignant);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{name},{variant},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
                case.truth_class,
                view.class,
                case.truth.len(),
                all.tp_predicted + all.fl_predicted + all.fp,
                all.tp,
                all.fl_truth,
                all.fn_,
                all.fp,
                malignant.tp,
                malignant.fl_truth,
                malignant.fn_,
                malignant.fp,
                dice(&view.voxels.all),
                dice(&view.voxels.malignant),
            );
        }
        if let Some(verdict) = case.verdict().filter(|_| asked.contains(&Variant::Joint)) {
            let class = verdict.decided().map_or(verdict.paper_status().name(), PatientClass::name);
            let (variant, of) = (Variant::Joint, case.truth.len());
            let _ = writeln!(text, "{name},{variant},{},{class},{of},,,,,,,,,,,", case.truth_class);
        }
    }
    text
}
