//! The paper's tables over a cohort: I lesions by type and volume, II and III lesion metrics
//! per variant, IV patients, V lesions of decided patients, and the joint distribution.

use serde::Serialize;

use super::Variant;
use super::case::{CaseResult, ViewResult};
use super::dice::{DiceRow, rows_of_labels};
use super::rates::{Binary, LesionRates, Rate};
use super::sweep::{SweepPoint, total};
use hepalert_cascade::detect::matching::{Counts, Tally};
use hepalert_cascade::verdict::{AlertLevel, PatientClass, Verdict};
use hepalert_study::anatomy::Lesion;

/// The paper's volume bins in cm³, each from its bound to the next; the first is ours, for
/// lesions too small for the paper.
pub const VOLUME_BINS_CM3: [f64; 7] = [0.0, 0.5, 2.0, 4.0, 8.0, 16.0, 64.0];

/// Everything that is written down about a cohort.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tables {
    /// Cases counted.
    pub cases: usize,
    /// Table I.
    pub lesions_by_volume: VolumeTable,
    /// Tables II and III: one per variant that at least one case has.
    pub lesions: Vec<LesionTable>,
    /// Table IV.
    pub patients: Vec<PatientRow>,
    /// Table V: `high+recls` on decided patients.
    pub decided: Option<LesionTable>,
    /// Fig. 10.
    pub joint: Option<JointTable>,
    /// Overlap per class of the network's own label map.
    pub dice: Vec<DiceRow>,
    /// Fig. 11.
    pub sweep: Vec<SweepPoint>,
}

/// True lesions by type and volume.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VolumeTable {
    /// Lower bounds of the bins.
    pub from_cm3: [f64; 7],
    /// HCC to cyst, then all, then malignant.
    pub rows: Vec<VolumeRow>,
}

/// One row of Table I.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VolumeRow {
    /// A type, `All` or `Malig`.
    pub row: &'static str,
    /// Lesions per bin.
    pub lesions: [usize; 7],
    /// Their sum.
    pub total: usize,
}

/// Lesion metrics of one variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LesionTable {
    /// The variant's name.
    pub variant: &'static str,
    /// Cases that have it.
    pub cases: usize,
    /// HCC to cyst, then all, then malignant.
    pub rows: Vec<LesionRow>,
    /// Predictions that hit nothing, per patient.
    pub false_per_patient: f64,
    /// Of these the malignant ones.
    pub malignant_false_per_patient: f64,
    /// Overlap of lesion voxels: under whatever label, and malignant ones.
    pub dice: [DiceRow; 2],
}

/// One row of Table II, III or V.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LesionRow {
    /// A type, `All` or `Malig`.
    pub row: &'static str,
    /// One event per prediction.
    pub paper: LesionMetrics,
    /// Every lesion once.
    pub strict: LesionMetrics,
}

/// Counts and what follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LesionMetrics {
    /// True lesions found with the right type.
    pub tp: usize,
    /// Predictions with the right type.
    pub tp_predicted: usize,
    /// True lesions found under another type.
    pub fl_truth: usize,
    /// Predictions on a lesion of another type.
    pub fl_predicted: usize,
    /// Predictions that hit nothing.
    pub fp: usize,
    /// True lesions missed.
    #[serde(rename = "fn")]
    pub fn_: usize,
    /// The rates.
    #[serde(flatten)]
    pub rates: LesionRates,
}

/// One row of Table IV.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PatientRow {
    /// A variant, or how the joint decision is read.
    pub row: String,
    /// Patients behind the rates.
    pub cases: usize,
    /// Malignant or not.
    pub counts: Binary,
    /// Of malignant patients, called malignant.
    pub sensitivity: Rate,
    /// Of the others, not called malignant.
    pub specificity: Rate,
    /// Patients whose class of seven is right; none where classes are not compared.
    pub accuracy: Option<Rate>,
    /// Patients left uncertain, of all; none for a single model.
    pub uncertain: Option<Rate>,
}

/// How the two views of the joint decision agree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JointTable {
    /// HCC to cyst, then normal: the order of every axis below.
    pub classes: [&'static str; 7],
    /// Patients by class in the base view (outer) and in the high view (inner).
    pub base_by_high: [[usize; 7]; 7],
    /// By true class: decided and right, decided and wrong, uncertain.
    pub by_truth: [[usize; 3]; 7],
    /// Patients left uncertain by the paper's rule, which compares classes.
    pub uncertain: Rate,
    /// Patients whose alert is uncertain: malignant in exactly one view.
    pub alert_uncertain: Rate,
}

impl Tables {
    /// Adds up the cases for these variants, in the order given.
    pub fn new(cases: &[CaseResult], variants: &[Variant]) -> Tables {
        let single = variants.iter().filter(|variant| **variant != Variant::Joint);
        let mut patients: Vec<PatientRow> =
            single.clone().filter_map(|variant| patient_row(cases, *variant)).collect();
        let joint = if variants.contains(&Variant::Joint) { joined(cases) } else { Vec::new() };
        patients.extend(joint_rows(&joint));
        let decided = |case: &&CaseResult| case.verdict().is_some_and(|v| v.decided().is_some());
        Tables {
            cases: cases.len(),
            lesions_by_volume: VolumeTable::of(cases.iter().flat_map(|case| &case.truth)),
            lesions: single
                .filter_map(|variant| lesion_table(variant.name(), *variant, cases.iter()))
                .collect(),
            patients,
            decided: (!joint.is_empty())
                .then(|| cases.iter().filter(decided))
                .and_then(|cases| lesion_table("joint (decided)", Variant::HighRecls, cases)),
            joint: (!joint.is_empty()).then(|| joint_table(&joint)),
            dice: rows_of_labels(cases.iter().map(|case| &case.labels)),
            sweep: total(cases.iter().map(|case| case.sweep.as_slice())),
        }
    }
}

impl VolumeTable {
    /// Of lesions, each with its type and volume in cm³.
    pub fn of<'a>(lesions: impl Iterator<Item = &'a (Lesion, f64)> + Clone) -> VolumeTable {
        let row = |row: &'static str, wanted: &dyn Fn(Lesion) -> bool| {
            let mut counts = [0; 7];
            for (_, volume_cm3) in lesions.clone().filter(|(kind, _)| wanted(*kind)) {
                counts[bin(*volume_cm3)] += 1;
            }
            VolumeRow { row, lesions: counts, total: counts.iter().sum() }
        };
        let mut rows: Vec<VolumeRow> =
            Lesion::ALL.iter().map(|kind| row(kind.name(), &|other| other == *kind)).collect();
        rows.push(row("All", &|_| true));
        rows.push(row("Malig", &Lesion::is_malignant));
        VolumeTable { from_cm3: VOLUME_BINS_CM3, rows }
    }
}

/// A bin holds its lower bound and not its upper, except that the last begins above 64 cm³:
/// exactly 64 still goes to reclassification, larger lesions pass it by.
fn bin(volume_cm3: f64) -> usize {
    let below =
        |bound: &&f64| if **bound == 64.0 { volume_cm3 > **bound } else { volume_cm3 >= **bound };
    VOLUME_BINS_CM3[1..].iter().take_while(below).count()
}

fn lesion_table<'a>(
    name: &'static str,
    variant: Variant,
    cases: impl Iterator<Item = &'a CaseResult> + Clone,
) -> Option<LesionTable> {
    let views = cases.filter_map(|case| case.views.get(&variant));
    let (mut paper, mut strict, mut count) = (Tally::default(), Tally::default(), 0);
    for view in views.clone() {
        paper += &view.paper;
        strict += &view.strict;
        count += 1;
    }
    let class = |row, paper: &Counts, strict: &Counts| LesionRow {
        row,
        paper: LesionMetrics::new(paper, LesionRates::of_class(paper)),
        strict: LesionMetrics::new(strict, LesionRates::of_class(strict)),
    };
    let mut rows: Vec<LesionRow> = Lesion::ALL
        .iter()
        .map(|kind| class(kind.name(), paper.of(*kind), strict.of(*kind)))
        .collect();
    rows.push(class("All", &paper.all(), &strict.all()));
    let malignant = |counts: &Counts| LesionMetrics::new(counts, LesionRates::of_malignant(counts));
    rows.push(LesionRow {
        row: "Malig",
        paper: malignant(&paper.malignant),
        strict: malignant(&strict.malignant),
    });
    let per_patient = |counts: &Counts| counts.fp as f64 / count.max(1) as f64;
    (count > 0).then(|| LesionTable {
        variant: name,
        cases: count,
        rows,
        false_per_patient: per_patient(&strict.all()),
        malignant_false_per_patient: per_patient(&strict.malignant),
        dice: [
            DiceRow::over("All", views.clone().map(|view| view.voxels.all)),
            DiceRow::over("Malig", views.map(|view| view.voxels.malignant)),
        ],
    })
}

impl LesionMetrics {
    fn new(counts: &Counts, rates: LesionRates) -> LesionMetrics {
        let Counts { tp, tp_predicted, fl_truth, fl_predicted, fp, fn_ } = *counts;
        LesionMetrics { tp, tp_predicted, fl_truth, fl_predicted, fp, fn_, rates }
    }
}

fn patient_row(cases: &[CaseResult], variant: Variant) -> Option<PatientRow> {
    let views = || {
        cases.iter().filter_map(|case| {
            case.views.get(&variant).map(|view: &ViewResult| (case.truth_class, view.class))
        })
    };
    let count = views().count();
    (count > 0).then(|| row_of_classes(variant.name(), views()))
}

/// A row in which every patient has a class.
fn row_of_classes(
    name: &str,
    classes: impl Iterator<Item = (PatientClass, PatientClass)>,
) -> PatientRow {
    let (mut counts, mut right, mut cases) = (Binary::default(), 0, 0);
    for (truth, class) in classes {
        counts.count(truth.is_malignant(), class.is_malignant());
        right += usize::from(truth == class);
        cases += 1;
    }
    PatientRow { accuracy: Some(Rate::new(right, cases)), ..row_of_counts(name, counts, cases) }
}

fn row_of_counts(name: &str, counts: Binary, cases: usize) -> PatientRow {
    PatientRow {
        row: name.to_owned(),
        cases,
        counts,
        sensitivity: counts.sensitivity(),
        specificity: counts.specificity(),
        accuracy: None,
        uncertain: None,
    }
}

/// The true class and the verdict of every case that has one.
fn joined(cases: &[CaseResult]) -> Vec<(PatientClass, Verdict)> {
    cases.iter().filter_map(|case| Some((case.truth_class, case.verdict()?))).collect()
}

/// The joint decision read four ways. The first is the paper's and flatters: it leaves the
/// uncertain patients out.
fn joint_rows(joint: &[(PatientClass, Verdict)]) -> Vec<PatientRow> {
    if joint.is_empty() {
        return Vec::new();
    }
    let uncertain = uncertain_by_paper(joint);
    let decided = joint.iter().filter_map(|(truth, verdict)| Some((*truth, verdict.decided()?)));
    let called = |reading: &dyn Fn(bool, Verdict) -> bool| {
        let mut counts = Binary::default();
        for (truth, verdict) in joint {
            let malignant = truth.is_malignant();
            counts.count(malignant, reading(malignant, *verdict));
        }
        counts
    };
    let positive = called(&|_, verdict| verdict.decided().is_none_or(PatientClass::is_malignant));
    let wrong = called(&|malignant, verdict| {
        verdict.decided().map_or(!malignant, PatientClass::is_malignant)
    });
    let alert = called(&|_, verdict| verdict.alert_level() != AlertLevel::NotSuspected);
    let all = joint.len();
    [
        PatientRow { uncertain: Some(uncertain), ..row_of_classes("joint (decided)", decided) },
        PatientRow {
            uncertain: Some(uncertain),
            ..row_of_counts("joint (uncertain as positive)", positive, all)
        },
        PatientRow {
            uncertain: Some(uncertain),
            ..row_of_counts("joint (uncertain as wrong)", wrong, all)
        },
        PatientRow {
            uncertain: Some(uncertain_by_alert(joint)),
            ..row_of_counts("alert (suspected or uncertain)", alert, all)
        },
    ]
    .into()
}

fn uncertain_by_paper(joint: &[(PatientClass, Verdict)]) -> Rate {
    let uncertain = joint.iter().filter(|(_, verdict)| verdict.decided().is_none());
    Rate::new(uncertain.count(), joint.len())
}

fn uncertain_by_alert(joint: &[(PatientClass, Verdict)]) -> Rate {
    let levels = joint.iter().map(|(_, verdict)| verdict.alert_level());
    Rate::new(levels.filter(|level| *level == AlertLevel::Uncertain).count(), joint.len())
}

fn joint_table(joint: &[(PatientClass, Verdict)]) -> JointTable {
    let place = |class: PatientClass| class as usize;
    let (mut base_by_high, mut by_truth) = ([[0; 7]; 7], [[0; 3]; 7]);
    for (truth, verdict) in joint {
        base_by_high[place(verdict.base())][place(verdict.high())] += 1;
        let outcome = match verdict.decided() {
            Some(class) if class == *truth => 0,
            Some(_) => 1,
            None => 2,
        };
        by_truth[place(*truth)][outcome] += 1;
    }
    JointTable {
        classes: PatientClass::ALL.map(PatientClass::name),
        base_by_high,
        by_truth,
        uncertain: uncertain_by_paper(joint),
        alert_uncertain: uncertain_by_alert(joint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const HCC: PatientClass = PatientClass::Hcc;
    const ICC: PatientClass = PatientClass::Icc;
    const CYST: PatientClass = PatientClass::Cyst;
    const NORMAL: PatientClass = PatientClass::Normal;

    fn case(truth: PatientClass, base: PatientClass, high: PatientClass) -> CaseResult {
        let view = |class| ViewResult {
            paper: Tally::default(),
            strict: Tally::default(),
            class,
            voxels: Default::default(),
        };
        CaseResult {
            truth: Vec::new(),
            truth_class: truth,
            views: BTreeMap::from([
                (Variant::BaseRecls, view(base)),
                (Variant::HighRecls, view(high)),
            ]),
            labels: Default::default(),
            sweep: Vec::new(),
        }
    }

    #[test]
    fn bins_begin_where_the_paper_has_them() {
        let bins = [0.4999, 0.5, 1.9, 2.0, 8.0, 16.0, 64.0, 64.1].map(bin);
        assert_eq!(bins, [0, 1, 1, 2, 4, 5, 5, 6]);
    }

    #[test]
    fn the_joint_row_counts_decided_patients_and_the_rest_stands_beside_it() {
        let cases = [
            case(HCC, HCC, HCC),
            case(HCC, ICC, HCC),
            case(HCC, NORMAL, HCC),
            case(NORMAL, NORMAL, NORMAL),
            case(NORMAL, NORMAL, CYST),
            case(CYST, HCC, HCC),
        ];
        let tables = Tables::new(&cases, &Variant::ALL);
        let rows: Vec<_> = tables
            .patients
            .iter()
            .map(|row| {
                let Binary { tp, fn_, tn, fp } = row.counts;
                (row.row.as_str(), [tp, fn_, tn, fp], row.uncertain.map(|rate| rate.hits))
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("base+recls", [2, 1, 2, 1], None),
                ("high+recls", [3, 0, 2, 1], None),
                ("joint (decided)", [1, 0, 1, 1], Some(3)),
                ("joint (uncertain as positive)", [3, 0, 1, 2], Some(3)),
                ("joint (uncertain as wrong)", [1, 2, 1, 2], Some(3)),
                ("alert (suspected or uncertain)", [3, 0, 2, 1], Some(1)),
            ]
        );
        let joint = tables.joint.unwrap();
        assert_eq!(joint.by_truth[0], [1, 0, 2]);
        assert_eq!(joint.by_truth[5], [0, 1, 0]);
        assert_eq!((joint.base_by_high[1][0], joint.base_by_high[6][5]), (1, 1));
        assert_eq!(tables.decided.map(|table| table.cases), Some(3));
        assert_eq!(tables.lesions.len(), 2);
    }

    #[test]
    fn variants_that_are_not_asked_for_are_not_there() {
        let tables = Tables::new(&[case(HCC, HCC, ICC)], &[Variant::BaseRecls]);
        assert_eq!((tables.patients.len(), tables.lesions.len()), (1, 1));
        assert!(tables.joint.is_none() && tables.decided.is_none());
        let empty = Tables::new(&[], &Variant::ALL);
        assert_eq!((empty.cases, empty.patients.len()), (0, 0));
    }
}
