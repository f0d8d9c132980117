//! The tables as Markdown, for people.

use std::fmt::Write;

use super::dice::DiceRow;
use super::rates::Rate;
use super::tables::{JointTable, LesionTable, PatientRow, Tables, VOLUME_BINS_CM3, VolumeTable};

/// The whole document.
pub fn markdown(tables: &Tables) -> String {
    let mut parts = vec![format!(
        "# Evaluation of {}\n\nRates in per cent with 95 % Wilson intervals. A rate of \
         few cases says little: read the interval. Lesions are counted as stage 2 parts them: touching \
         pieces of one class, which a report lists as one finding, count one by one.",
        cases(tables.cases)
    )];
    parts.push(volumes("True lesions by type and volume", &tables.lesions_by_volume));
    parts.extend(tables.lesions.iter().map(|table| lesions("Lesions", table)));
    parts.push(patients(&tables.patients));
    parts.extend(tables.decided.iter().map(|table| lesions("Lesions of decided patients", table)));
    parts.extend(tables.joint.iter().map(joint));
    if !tables.dice.is_empty() {
        parts.push(dice(&tables.dice));
    }
    if !tables.sweep.is_empty() {
        parts.push(sweep(tables));
    }
    parts.join("\n\n") + "\n"
}

/// A table with its first column to the left and the others to the right.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|---|{}", header.join(" | "), "--:|".repeat(header.len() - 1));
    for row in rows {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n| {} |", row.join(" | "));
    }
    text
}

/// Lesions by type and volume under a title.
pub fn volumes(title: &str, volumes: &VolumeTable) -> String {
    let bounds = VOLUME_BINS_CM3.windows(2).map(|pair| format!("{}-{}", pair[0], pair[1]));
    let bins: Vec<String> = bounds.chain([format!(">{}", VOLUME_BINS_CM3[6])]).collect();
    let mut header = vec!["cm3"];
    header.extend(bins.iter().map(String::as_str));
    header.push("all");
    let rows = volumes.rows.iter().map(|row| {
        let counts = row.lesions.iter().chain([&row.total]).map(usize::to_string);
        [row.row.to_owned()].into_iter().chain(counts).collect()
    });
    format!("## {title}\n\n{}", table(&header, rows))
}

fn lesions(title: &str, lesions: &LesionTable) -> String {
    let header = [
        "",
        "TP",
        "FL",
        "FN",
        "FP",
        "called",
        "precision",
        "precision, full",
        "recall",
        "recall, rough",
        "strict precision",
        "strict recall",
    ];
    let rows = lesions.rows.iter().map(|row| {
        let paper = &row.paper;
        let counts = [paper.tp, paper.fl_truth, paper.fn_, paper.fp, paper.fl_predicted];
        let rates = [
            paper.rates.precision,
            paper.rates.precision_full,
            paper.rates.recall,
            paper.rates.recall_rough,
            row.strict.rates.precision_full,
            row.strict.rates.recall,
        ];
        let name = [row.row.to_owned()].into_iter();
        let counts = counts.into_iter().map(|count| count.to_string());
        name.chain(counts).chain(rates.iter().map(Rate::percent_with_interval)).collect()
    });
    let [all, malignant] = &lesions.dice;
    format!(
        "## {title}: {}, {}\n\n{}\n\nFalse lesions per patient: {:.2}, of these malignant \
         {:.2}. Dice of lesion voxels under whatever label: {}; of malignant ones as one: {}.\n\n\
         TP to FP by the paper's rule: one event per \
         prediction, a true lesion may count twice or not at all. FL are true lesions of the \
         row found under another label; \"called\" are predictions of the row on another \
         label, and the precision of a row counts them, except that the paper's precision of \
         Malig leaves out benign lesions called malignant: the full one has them. The strict \
         columns count every lesion once.",
        lesions.variant,
        cases(lesions.cases),
        table(&header, rows),
        lesions.false_per_patient,
        lesions.malignant_false_per_patient,
        overlap(all),
        overlap(malignant),
    )
}

fn cases(count: usize) -> String {
    if count == 1 { "1 case".to_owned() } else { format!("{count} cases") }
}

fn overlap(row: &DiceRow) -> String {
    let two = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    format!(
        "{} in the mean of the {} that have any, {} of all voxels together",
        two(row.mean),
        cases(row.cases),
        two(row.pooled)
    )
}

fn dice(rows: &[DiceRow]) -> String {
    let three = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    let lines = rows.iter().map(|row| {
        vec![row.row.to_owned(), row.cases.to_string(), three(row.mean), three(row.pooled)]
    });
    format!(
        "## Dice per class of the network's own label map\n\n{}\n\nMean: of the cases whose truth \
         has the class. Pooled: of all voxels together, so that large organs and false voxels in \
         cases without the class count.",
        table(&["", "cases", "mean", "pooled"], lines)
    )
}

fn patients(patients: &[PatientRow]) -> String {
    let header = [
        "",
        "patients",
        "TP",
        "FN",
        "TN",
        "FP",
        "sensitivity",
        "specificity",
        "class right",
        "uncertain",
    ];
    let optional = |rate: &Option<Rate>| rate.as_ref().map_or("-".to_owned(), Rate::percent);
    let rows = patients.iter().map(|row| {
        let counts = [row.cases, row.counts.tp, row.counts.fn_, row.counts.tn, row.counts.fp];
        let name = [row.row.clone()].into_iter();
        let rates = [
            row.sensitivity.percent_with_interval(),
            row.specificity.percent_with_interval(),
            optional(&row.accuracy),
            optional(&row.uncertain),
        ];
        name.chain(counts.map(|count| count.to_string())).chain(rates).collect()
    });
    let note = if patients.iter().any(|row| row.uncertain.is_some()) {
        "\n\nThe decided row leaves uncertain patients out, as the paper does, and so flatters; \
         the rows below it count everyone."
    } else {
        ""
    };
    format!("## Patients: malignant or not\n\n{}{note}", table(&header, rows))
}

fn joint(joint: &JointTable) -> String {
    let mut header = vec!["base \\ high"];
    header.extend(joint.classes);
    let with_name = |(name, counts): (&&str, &[usize])| -> Vec<String> {
        let counts = counts.iter().map(usize::to_string);
        [(*name).to_owned()].into_iter().chain(counts).collect()
    };
    let views = std::iter::zip(&joint.classes, joint.base_by_high.iter().map(|row| &row[..]));
    let truth = std::iter::zip(&joint.classes, joint.by_truth.iter().map(|row| &row[..]));
    format!(
        "## Joint predictions\n\nUncertain by class: {}. Alerts uncertain: {}.\n\n{}\n\n{}",
        joint.uncertain.percent_with_interval(),
        joint.alert_uncertain.percent_with_interval(),
        table(&header, views.map(with_name)),
        table(
            &["true class", "decided, right", "decided, wrong", "uncertain"],
            truth.map(with_name)
        )
    )
}

fn sweep(tables: &Tables) -> String {
    let rows = tables.sweep.iter().map(|point| {
        let counts = [point.cases, point.fn_, point.malignant_fn, point.fp, point.malignant_fp];
        let gain = [format!("{}", point.gain)].into_iter();
        gain.chain(counts.map(|count| count.to_string())).collect()
    });
    let header = ["gain", "cases", "FN", "of these malignant", "FP", "of these malignant"];
    format!(
        "## Missed and false lesions against the lesion gain, before reclassification\n\n{}",
        table(&header, rows)
    )
}
