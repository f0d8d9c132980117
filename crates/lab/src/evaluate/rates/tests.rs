//! The integer counts recovered from the paper's tables (method 1.7), and the percentages
//! that are known to be printed.

use proptest::prelude::*;

use super::*;
use hepalert_cascade::detect::matching::Tally;
use hepalert_study::anatomy::Lesion;

struct Column {
    name: &'static str,
    /// Lesions in the truth, TP, FL of the truth, FL of the predictions, FN, FP; by type.
    rows: [[usize; 6]; 6],
    /// TP of, total of and FP among malignant lesions.
    malignant: [usize; 3],
}

#[rustfmt::skip]
const COLUMNS: [Column; 9] = [
    Column { name: "II base", rows: [
        [258, 228, 14, 36, 16, 7], [13, 8, 5, 5, 0, 3], [173, 134, 15, 14, 24, 8],
        [13, 6, 7, 2, 0, 2], [61, 30, 25, 13, 6, 14], [63, 56, 7, 3, 0, 5]], malignant: [394, 444, 18] },
    Column { name: "II base+recls-no-shuffle", rows: [
        [258, 219, 13, 25, 26, 1], [13, 8, 5, 5, 0, 1], [173, 119, 14, 14, 40, 5],
        [12, 6, 4, 4, 2, 0], [60, 22, 19, 9, 19, 2], [62, 51, 4, 2, 7, 1]], malignant: [369, 444, 7] },
    Column { name: "II base+recls", rows: [
        [258, 227, 14, 33, 17, 1], [13, 8, 5, 5, 0, 1], [173, 134, 15, 14, 24, 7],
        [12, 6, 5, 3, 1, 0], [60, 25, 24, 9, 11, 3], [63, 56, 4, 3, 3, 2]], malignant: [393, 444, 9] },
    Column { name: "II high+recls", rows: [
        [257, 231, 14, 34, 12, 8], [13, 8, 5, 5, 0, 1], [158, 130, 15, 14, 13, 8],
        [12, 6, 5, 4, 1, 1], [60, 25, 26, 7, 9, 8], [63, 56, 2, 3, 5, 4]], malignant: [393, 428, 17] },
    Column { name: "III base", rows: [
        [255, 214, 11, 54, 30, 27], [13, 4, 9, 3, 0, 2], [180, 108, 33, 7, 39, 7],
        [12, 4, 6, 0, 2, 0], [58, 23, 23, 8, 12, 8], [65, 62, 1, 11, 2, 3]], malignant: [362, 448, 36] },
    Column { name: "III base+recls-no-shuffle", rows: [
        [255, 197, 9, 48, 49, 2], [13, 4, 9, 4, 0, 1], [180, 90, 27, 4, 63, 2],
        [12, 4, 5, 0, 3, 0], [57, 17, 19, 5, 21, 1], [61, 55, 1, 9, 5, 3]], malignant: [324, 448, 5] },
    Column { name: "III base+recls", rows: [
        [255, 211, 10, 55, 34, 6], [13, 4, 9, 4, 0, 1], [180, 108, 33, 5, 39, 3],
        [12, 4, 6, 0, 2, 0], [58, 20, 23, 7, 15, 2], [65, 61, 1, 11, 3, 3]], malignant: [359, 448, 10] },
    Column { name: "III high+recls", rows: [
        [248, 215, 9, 62, 24, 15], [13, 4, 9, 4, 0, 1], [155, 97, 32, 7, 26, 10],
        [12, 4, 7, 0, 1, 0], [60, 21, 27, 5, 12, 4], [64, 60, 1, 7, 3, 5]], malignant: [355, 416, 26] },
    Column { name: "V high+recls, decided", rows: [
        [247, 223, 13, 33, 11, 6], [13, 8, 5, 4, 0, 1], [158, 130, 15, 14, 13, 8],
        [12, 6, 5, 3, 1, 1], [57, 25, 24, 7, 8, 6], [63, 56, 2, 3, 5, 4]], malignant: [385, 418, 15] },
];

fn tally(column: &Column) -> Tally {
    let mut tally = Tally {
        per_class: column.rows.map(|[_, tp, fl_truth, fl_predicted, fn_, fp]| Counts {
            tp,
            tp_predicted: tp,
            fl_truth,
            fl_predicted,
            fp,
            fn_,
        }),
        malignant: Counts::default(),
    };
    let sum = |of: fn(&Counts) -> usize| -> usize {
        let malignant = Lesion::ALL.into_iter().filter(|kind| kind.is_malignant());
        malignant.map(|kind| of(tally.of(kind))).sum()
    };
    let [tp, total, fp] = column.malignant;
    let fn_ = sum(|row| row.fn_);
    // Called malignant, of another type, less those that are malignant all the same.
    let fl_predicted = sum(|row| row.fl_predicted) - (tp - sum(|row| row.tp));
    let fl_truth = total - tp - fn_;
    tally.malignant = Counts { tp, tp_predicted: tp, fl_truth, fl_predicted, fp, fn_ };
    tally
}

fn column(name: &str) -> Tally {
    tally(COLUMNS.iter().find(|column| column.name == name).unwrap())
}

#[test]
fn every_column_closes() {
    for column in &COLUMNS {
        let tally = tally(column);
        for (row, kind) in std::iter::zip(&column.rows, Lesion::ALL) {
            assert_eq!(LesionRates::of_class(tally.of(kind)).recall.of, row[0], "{}", column.name);
        }
        let all = tally.all();
        assert_eq!(all.fl_truth, all.fl_predicted, "{}: both sides of FL", column.name);
        let malignant = LesionRates::of_malignant(&tally.malignant);
        assert_eq!(malignant.recall.of, column.malignant[1], "{}", column.name);
        let fp: usize = column.rows[..3].iter().map(|row| row[5]).sum();
        assert_eq!(malignant.precision.of, column.malignant[0] + fp, "{}", column.name);
    }
}

#[test]
fn table_v_comes_out_as_printed() {
    let tally = column("V high+recls, decided");
    let precision =
        Lesion::ALL.map(|kind| LesionRates::of_class(tally.of(kind)).precision.percent());
    assert_eq!(precision, ["85.1", "61.5", "85.5", "60.0", "65.8", "88.9"]);
    assert_eq!(LesionRates::of_class(&tally.all()).precision.percent(), "83.3");
    let malignant = LesionRates::of_malignant(&tally.malignant);
    assert_eq!((malignant.recall.hits, malignant.recall.of), (385, 418));
    assert_eq!((malignant.recall_rough.hits, malignant.recall_rough.of), (394, 418));
    assert_eq!((malignant.precision.hits, malignant.precision.of), (385, 400));
    assert_eq!((malignant.precision_full.hits, malignant.precision_full.of), (385, 427));
    assert_eq!(malignant.precision_full.percent(), "90.2");
    assert_eq!((tally.malignant.fl_truth, tally.malignant.fl_predicted), (9, 27));
}

#[test]
fn the_figures_of_the_text_come_out_as_printed() {
    let hcc = LesionRates::of_class(column("II base").of(Lesion::Hcc));
    let [precision, recall] = [hcc.precision, hcc.recall].map(|rate| rate.value.unwrap());
    let f_score = 2.0 * precision * recall / (precision + recall);
    assert_eq!(format!("{:.1}", 100.0 * f_score), "86.2");
    let [base, recls] = ["III base", "III base+recls"].map(|name| column(name).malignant);
    assert_eq!(LesionRates::of_malignant(&base).precision.percent(), "91.0");
    assert_eq!(LesionRates::of_malignant(&recls).precision.percent(), "97.3");
    assert_eq!(Rate::new(base.fp - recls.fp, base.fp).percent(), "72.2");
}

#[test]
fn table_iv_has_one_denominator_and_the_joint_row_another() {
    let patients = |tp: usize, tn: usize| Binary { tp, fn_: 261 - tp, tn, fp: 70 - tn };
    // Diagnosis, then screening: base, without shuffling, reclassified, high.
    let rows = [
        [(255, 65), (251, 69), (254, 69), (259, 68)],
        [(248, 58), (233, 69), (241, 67), (254, 67)],
    ];
    let rates = rows.map(|row| {
        row.map(|(tp, tn)| {
            let counted = patients(tp, tn);
            (counted.sensitivity().percent(), counted.specificity().percent())
        })
    });
    let printed = [
        [("97.7", "92.9"), ("96.2", "98.6"), ("97.3", "98.6"), ("99.2", "97.1")],
        [("95.0", "82.9"), ("89.3", "98.6"), ("92.3", "95.7"), ("97.3", "95.7")],
    ];
    assert_eq!(rates, printed.map(|row| row.map(|(a, b)| (a.to_owned(), b.to_owned()))));
    assert_eq!(Rate::new(12, 331).percent(), "3.6");
}

#[test]
fn nothing_of_nothing_is_no_rate() {
    let rate = Rate::new(0, 0);
    assert_eq!((rate.value, rate.low, rate.percent()), (None, None, "-".to_owned()));
}

#[test]
fn intervals_are_wilsons() {
    // Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    for (hits, of, low, high) in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ] {
        let rate = Rate::new(hits, of);
        assert!((rate.low.unwrap() - low).abs() < 5e-5, "{rate:?}");
        assert!((rate.high.unwrap() - high).abs() < 5e-5, "{rate:?}");
    }
}

proptest! {
    #[test]
    fn an_interval_holds_its_rate(of in 1..1000usize, share in 0.0..=1.0f64) {
        let rate = Rate::new((share * of as f64) as usize, of);
        let [low, value, high] = [rate.low, rate.value, rate.high].map(Option::unwrap);
        prop_assert!(0.0 <= low && low <= value && value <= high && high <= 1.0);
    }
}

#[test]
fn quantiles_are_samples() {
    let samples: Vec<f64> = (1..=20).map(f64::from).collect();
    assert_eq!([0.5, 0.95, 1.0].map(|share| quantile(&samples, share)), [10.0, 19.0, 20.0]);
    assert_eq!(quantile(&[], 0.5), 0.0);
}
