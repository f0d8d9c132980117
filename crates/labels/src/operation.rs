//! What can be done to a label map: the words that a page sends and a history keeps.
//!
//! Owns names and fields of operations as JSON (`{"op": "relabel", "at": [z, y, x], "label": 3}`).
//! Voxels are `[z, y, x]` in RAS order, a region is named by a voxel in it. Refuses unknown fields.

use hepalert_voxels::volume::{LabelMap, Volume};
use serde::{Deserialize, Serialize};

/// A voxel, `[z, y, x]` in RAS order.
pub type Voxel = [usize; 3];

/// One edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// A region gets another label.
    Relabel {
        /// A voxel in the region.
        at: Voxel,
        /// Its new label.
        label: u8,
    },
    /// A region goes: it becomes what it lies in.
    Delete {
        /// A voxel in the region.
        at: Voxel,
        /// What its voxels become instead of the label around them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        becomes: Option<u8>,
    },
    /// Two regions become one: the second gets the first one's label, and what lies straight
    /// between them is filled.
    Merge {
        /// A voxel in the first region.
        at: Voxel,
        /// A voxel in the second.
        with: Voxel,
    },
    /// A region is cut by a plane: what lies on the side of the normal gets a label. If that is
    /// the region's own, a gap one voxel wide parts the two.
    SplitPlane {
        /// A voxel in the region.
        at: Voxel,
        /// A point of the plane, `[x, y, z]` in millimetres RAS.
        point_ras_mm: [f64; 3],
        /// The plane's normal, of any length.
        normal: [f64; 3],
        /// The label of the part on the normal's side.
        label: u8,
    },
    /// A region is cut where it is narrow, into a part around each seed (watershed of the depth).
    /// Parts of equal label are parted by a gap one voxel wide.
    SplitSeeds {
        /// A voxel in the region.
        at: Voxel,
        /// One per part.
        seeds: Vec<Seed>,
    },
    /// Voxels get a label; 0 erases: they become what their region lies in.
    Paint {
        /// `[z, y, x, length]`: runs along x.
        runs: Vec<[usize; 4]>,
        /// Their label.
        label: u8,
        /// Only voxels of these labels are painted over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<Vec<u8>>,
    },
    /// What a region encloses becomes part of it, where it carries the label around the region or
    /// none.
    Fill {
        /// A voxel in the region.
        at: Voxel,
        /// What counts as enclosed.
        within: Enclosure,
    },
    /// Slices between contours are drawn by their signed distance, the centres moving along.
    Interpolate {
        /// A voxel in each contour, in any order, two or more.
        at: Vec<Voxel>,
        /// Across which slices.
        axis: Axis,
        /// Only voxels of these labels are painted over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<Vec<u8>>,
    },
    /// A region, or a voxel, grows over voxels whose Hounsfield units are in a range and that
    /// hang together with it by faces.
    Grow {
        /// A voxel in the region, or one to begin with.
        at: Voxel,
        /// The label to grow.
        label: u8,
        /// Lowest and highest value taken.
        hu: [f64; 2],
        /// How far from the beginning.
        reach_mm: f64,
        /// Only voxels of these labels are taken: the liver's, usually.
        inside: Vec<u8>,
    },
    /// A region of another phase's labels is copied to where it lies in the patient.
    CopyFrom {
        /// The phase's name.
        phase: String,
        /// A voxel in the region, on the other phase's grid.
        at: Voxel,
        /// Its label here; its own if none is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<u8>,
        /// Only voxels of these labels are painted over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<Vec<u8>>,
    },
    /// Somebody else's labels of this image are taken over: a reader's, or those that came with the
    /// case.
    TakeFrom {
        /// Whose: a reader, or `labels:NAME`.
        whose: String,
        /// A voxel in a region of theirs: that region alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Voxel>,
        /// Only voxels of these labels are painted over; without, those that carry none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<Vec<u8>>,
    },
}

/// Where a part begins, and its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// A voxel in the region.
    pub at: Voxel,
    /// The label of the part around it.
    pub label: u8,
}

/// What counts as enclosed by a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enclosure {
    /// What is enclosed on all sides.
    Volume,
    /// What is enclosed within an axial slice.
    Slices,
}

/// The direction across slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// From the feet to the head: axial slices.
    Axial,
    /// From the back to the front.
    Coronal,
    /// From the left to the right.
    Sagittal,
}

impl Axis {
    /// Its place in `[z, y, x]`.
    pub const fn index(self) -> usize {
        match self {
            Axis::Axial => 0,
            Axis::Coronal => 1,
            Axis::Sagittal => 2,
        }
    }
}

/// What an operation may look at besides the labels, in RAS order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// Hounsfield units on the grid of the labels: [`Operation::Grow`] reads them.
    pub image: Option<&'a Volume<f32>>,
    /// The labels that [`Operation::CopyFrom`] names, on any grid, or [`Operation::TakeFrom`], on
    /// this one.
    pub other: Option<&'a LabelMap>,
}

impl Operation {
    /// The labels that it gives to voxels, as far as it says them itself.
    pub fn labels(&self) -> Vec<u8> {
        match self {
            Operation::Relabel { label, .. }
            | Operation::SplitPlane { label, .. }
            | Operation::Paint { label, .. }
            | Operation::Grow { label, .. } => vec![*label],
            Operation::Delete { becomes, .. } => becomes.iter().copied().collect(),
            Operation::CopyFrom { label, .. } => label.iter().copied().collect(),
            Operation::SplitSeeds { seeds, .. } => seeds.iter().map(|seed| seed.label).collect(),
            Operation::Merge { .. }
            | Operation::Fill { .. }
            | Operation::Interpolate { .. }
            | Operation::TakeFrom { .. } => Vec::new(),
        }
    }

    /// Its name in JSON, for lists.
    pub const fn name(&self) -> &'static str {
        match self {
            Operation::Relabel { .. } => "relabel",
            Operation::Delete { .. } => "delete",
            Operation::Merge { .. } => "merge",
            Operation::SplitPlane { .. } => "split_plane",
            Operation::SplitSeeds { .. } => "split_seeds",
            Operation::Paint { .. } => "paint",
            Operation::Fill { .. } => "fill",
            Operation::Interpolate { .. } => "interpolate",
            Operation::Grow { .. } => "grow",
            Operation::CopyFrom { .. } => "copy_from",
            Operation::TakeFrom { .. } => "take_from",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_written_as_documented() {
        let texts = [
            r#"{"op":"relabel","at":[1,2,3],"label":4}"#,
            r#"{"op":"delete","at":[1,2,3]}"#,
            r#"{"op":"merge","at":[1,2,3],"with":[4,5,6]}"#,
            r#"{"op":"split_plane","at":[1,2,3],"point_ras_mm":[0.0,1.0,2.0],"normal":[0.0,0.0,1.0],"label":1}"#,
            r#"{"op":"split_seeds","at":[1,2,3],"seeds":[{"at":[1,2,3],"label":1}]}"#,
            r#"{"op":"paint","runs":[[1,2,3,4]],"label":0,"over":[1]}"#,
            r#"{"op":"fill","at":[1,2,3],"within":"slices"}"#,
            r#"{"op":"interpolate","at":[[1,2,3],[5,2,3]],"axis":"axial"}"#,
            r#"{"op":"grow","at":[1,2,3],"label":1,"hu":[20.0,80.0],"reach_mm":15.0,"inside":[7]}"#,
            r#"{"op":"copy_from","phase":"ap","at":[1,2,3],"label":2}"#,
            r#"{"op":"take_from","whose":"labels:liver","over":[0,7]}"#,
        ];
        for text in texts {
            let operation: Operation = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&operation).unwrap(), text);
            assert!(text.contains(&format!("\"op\":\"{}\"", operation.name())));
        }
        let refused = [
            r#"{"op":"relabel","at":[1,2,3],"label":256}"#,
            r#"{"op":"relabel","at":[1,2,-3],"label":2}"#,
            r#"{"op":"relabel","at":[1,2],"label":2}"#,
            r#"{"op":"relabel","at":[1,2,3],"label":2,"more":1}"#,
            r#"{"op":"wipe"}"#,
        ];
        for text in refused {
            assert!(serde_json::from_str::<Operation>(text).is_err(), "{text}");
        }
    }
}
