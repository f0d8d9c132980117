//! Which case to read next.
//!
//! Owns `order.json` among the labels: how much every case disagrees, as the curation loop or a
//! comparison of readers found it. Cases of which nothing is known come last, by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::case::Case;
use super::error::CaseError;
use super::files::{hold, put, read};
use super::folder::Folder;

const MAX_BYTES: u64 = 64 << 20;

/// How much cases disagree: 0 not at all, 1 in everything.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Order {
    /// By case.
    pub disagreement: BTreeMap<String, f64>,
}

fn path(work: &Path) -> PathBuf {
    work.join("order.json")
}

impl Order {
    /// What is known among the labels of a folder; nothing if there is no such file or it is none.
    ///
    /// # Errors
    /// [`CaseError::File`] if it cannot be read.
    pub fn read(work: &Path) -> Result<Order, CaseError> {
        let bytes = read(&path(work), MAX_BYTES)?.unwrap_or_default();
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`CaseError::File`] if it cannot be written.
    pub fn keep(&self, work: &Path) -> Result<(), CaseError> {
        let path = path(work);
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| CaseError::File { path: path.clone(), reason: error.into() })?;
        let _hold = hold(work)?;
        put(&path, &bytes)
    }

    /// The cases of a folder, the most disagreement first.
    pub fn of<'a>(&self, folder: &'a Folder) -> Vec<(&'a Case, Option<f64>)> {
        let known = |id: &str| self.disagreement.get(id).copied().filter(|score| score.is_finite());
        let mut cases: Vec<(&Case, Option<f64>)> =
            folder.cases().iter().map(|case| (case, known(&case.id))).collect();
        let first = |score: &Option<f64>| score.unwrap_or(f64::NEG_INFINITY);
        cases.sort_by(|a, b| first(&b.1).total_cmp(&first(&a.1)).then(a.0.id.cmp(&b.0.id)));
        cases
    }
}
