//! Counts as numbers in a row, those of all malignant types last: how they are kept.

use hepalert_cascade::detect::matching::{Counts, Tally};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(tally: &Tally, to: S) -> Result<S::Ok, S::Error> {
    let row = |of: &Counts| [of.tp, of.tp_predicted, of.fl_truth, of.fl_predicted, of.fp, of.fn_];
    (tally.per_class.each_ref().map(row), row(&tally.malignant)).serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Tally, D::Error> {
    let counts = |[tp, tp_predicted, fl_truth, fl_predicted, fp, fn_]: [usize; 6]| Counts {
        tp,
        tp_predicted,
        fl_truth,
        fl_predicted,
        fp,
        fn_,
    };
    let (per_class, malignant): ([[usize; 6]; 6], _) = Deserialize::deserialize(from)?;
    Ok(Tally { per_class: per_class.map(counts), malignant: counts(malignant) })
}
