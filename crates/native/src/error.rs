//! Why a network cannot be run here.

use crate::wire::Broken;

/// Of a name or a reason; names of nnU-Net's nodes have some hundred.
const MAX_CHARACTERS: usize = 400;

/// Why a file was refused, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes are no ONNX file.
    #[error("not an ONNX file, {reason}")]
    Bytes {
        /// Where it breaks.
        reason: String,
    },
    /// The graph as a whole cannot be run.
    #[error("{reason}")]
    Graph {
        /// What it is.
        reason: String,
    },
    /// One operation cannot be run.
    #[error("node `{node}`: {reason}")]
    Node {
        /// Its name, or its output's where it has none.
        node: String,
        /// What it asks for.
        reason: String,
    },
    /// The processor or the system cannot run it as asked.
    #[error("{reason}")]
    Machine {
        /// What is missing.
        reason: String,
    },
}

impl LoadError {
    pub(crate) fn graph(reason: impl Into<String>) -> LoadError {
        LoadError::Graph { reason: plain(&reason.into()) }
    }

    pub(crate) fn node(node: &str, reason: impl Into<String>) -> LoadError {
        LoadError::Node { node: plain(node), reason: plain(&reason.into()) }
    }
}

/// A file's own words in a sentence of ours: on one line, and not endless.
fn plain(text: &str) -> String {
    let plain = text.chars().take(MAX_CHARACTERS);
    plain.map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

impl From<Broken> for LoadError {
    fn from(broken: Broken) -> LoadError {
        LoadError::Bytes { reason: broken.to_string() }
    }
}
