//! Counts into rates, each with its Wilson interval.

use serde::Serialize;

use hepalert_cascade::detect::matching::Counts;

/// The 97.5th percentile of the normal distribution: intervals cover 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// How many.
    pub hits: usize,
    /// Out of how many.
    pub of: usize,
    /// Their ratio; none of nothing.
    pub value: Option<f64>,
    /// Lower end of the 95 % Wilson interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// The smallest value that at least this share of all does not exceed (nearest rank); 0 of none.
/// `sorted` rises.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

impl Rate {
    /// # Panics
    /// If there are more hits than cases: that is a mistake in counting.
    pub fn new(hits: usize, of: usize) -> Rate {
        assert!(hits <= of, "{hits} of {of}");
        let interval = (of > 0).then(|| wilson(hits as f64, of as f64));
        Rate {
            hits,
            of,
            value: (of > 0).then(|| hits as f64 / of as f64),
            low: interval.map(|[low, _]| low),
            high: interval.map(|[_, high]| high),
        }
    }

    /// The ratio in per cent with one decimal, as tables print it; a dash for none of nothing.
    pub fn percent(&self) -> String {
        self.value.map_or_else(|| "-".to_owned(), |value| format!("{:.1}", 100.0 * value))
    }

    /// [`Rate::percent`] with its interval.
    pub fn percent_with_interval(&self) -> String {
        match (self.low, self.high) {
            (Some(low), Some(high)) => {
                format!("{} ({:.1}-{:.1})", self.percent(), 100.0 * low, 100.0 * high)
            }
            _ => self.percent(),
        }
    }
}

/// Wilson's score interval (1927) for `hits` of `of` > 0.
fn wilson(hits: f64, of: f64) -> [f64; 2] {
    let share = hits / of;
    let weight = 1.0 + Z * Z / of;
    let centre = (share + Z * Z / (2.0 * of)) / weight;
    let half = Z / weight * (share * (1.0 - share) / of + Z * Z / (4.0 * of * of)).sqrt();
    // Exactly 0 and 1 at the ends, where rounding would leave a trace.
    let low = if hits == 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if hits == of { 1.0 } else { (centre + half).min(1.0) };
    [low, high]
}

/// The rates of one row of a lesion table (method 1.7).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LesionRates {
    /// By the paper's rule. For a type: TP / (TP + FP + predictions called so on another
    /// type). For malignant lesions as one: TP / (TP + FP), which leaves out benign lesions
    /// called malignant.
    pub precision: Rate,
    /// TP / (TP + FP + everything falsely called so): the same for a type, lower for
    /// malignant lesions.
    pub precision_full: Rate,
    /// TP / (TP + FL + FN).
    pub recall: Rate,
    /// (TP + FL) / (TP + FL + FN): found, under whatever label.
    pub recall_rough: Rate,
}

impl LesionRates {
    /// The rates of one type, or of all types together.
    pub fn of_class(counts: &Counts) -> LesionRates {
        let full = counts.tp_predicted + counts.fp + counts.fl_predicted;
        LesionRates::with_precision_of(counts, full)
    }

    /// The rates of malignant lesions as one.
    pub fn of_malignant(counts: &Counts) -> LesionRates {
        LesionRates::with_precision_of(counts, counts.tp_predicted + counts.fp)
    }

    fn with_precision_of(counts: &Counts, predicted: usize) -> LesionRates {
        let full = counts.tp_predicted + counts.fp + counts.fl_predicted;
        let truth = counts.tp + counts.fl_truth + counts.fn_;
        LesionRates {
            precision: Rate::new(counts.tp_predicted, predicted),
            precision_full: Rate::new(counts.tp_predicted, full),
            recall: Rate::new(counts.tp, truth),
            recall_rough: Rate::new(counts.tp + counts.fl_truth, truth),
        }
    }
}

/// A yes-or-no test over patients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Binary {
    /// Malignant and called so.
    pub tp: usize,
    /// Malignant and not called so.
    #[serde(rename = "fn")]
    pub fn_: usize,
    /// Not malignant and not called so.
    pub tn: usize,
    /// Not malignant and called so.
    pub fp: usize,
}

impl Binary {
    /// Counts one patient.
    pub fn count(&mut self, malignant: bool, called: bool) {
        let cell = match (malignant, called) {
            (true, true) => &mut self.tp,
            (true, false) => &mut self.fn_,
            (false, false) => &mut self.tn,
            (false, true) => &mut self.fp,
        };
        *cell += 1;
    }

    /// TP / (TP + FN).
    pub fn sensitivity(&self) -> Rate {
        Rate::new(self.tp, self.tp + self.fn_)
    }

    /// TN / (TN + FP).
    pub fn specificity(&self) -> Rate {
        Rate::new(self.tn, self.tn + self.fp)
    }
}

#[cfg(test)]
mod tests;
