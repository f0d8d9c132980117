//! One edit, as the history keeps it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reader::Reader;
use crate::operation::Operation;

/// One edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was made.
    pub when: Timestamp,
    /// Who made it.
    pub reader: Reader,
    /// Labels of which image.
    pub image: String,
    /// The operation as JSON; a stroke without its voxels. `undo`, `redo`, `start`, `taken_in` and
    /// `kept_aside` too.
    pub what: Value,
    /// How many voxels changed.
    pub voxels: usize,
    /// The labels before: none if there were none.
    pub before: Option<String>,
    /// The labels after.
    pub revision: String,
}

/// What an operation is called in the history.
pub fn what(operation: &Operation) -> Value {
    match operation {
        Operation::Paint { runs, label, .. } => {
            json!({"op": operation.name(), "label": label, "runs": runs.len()})
        }
        _ => serde_json::to_value(operation).unwrap_or_else(|_| json!({"op": operation.name()})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stroke_is_told_without_its_voxels() {
        let paint = Operation::Paint { runs: vec![[0, 0, 0, 1]; 5], label: 2, over: None };
        assert_eq!(what(&paint), json!({"op": "paint", "label": 2, "runs": 5}));
        let delete = Operation::Delete { at: [1, 2, 3], becomes: None };
        assert_eq!(what(&delete), json!({"op": "delete", "at": [1, 2, 3]}));
    }
}
