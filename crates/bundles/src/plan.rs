//! What a manifest says of one network, as plain types.

use serde::Deserialize;

use hepalert_engines::EngineSpec;
use hepalert_voxels::image::normalise::Normalisation;
use hepalert_voxels::volume::Orientation;

use super::BundleFile;

/// How a network wants its input and what it gives. All triples are in the network's axis
/// order, that is after `transpose_forward`.
#[derive(Debug, Clone)]
pub struct NetworkPlan {
    /// One ONNX file per fold.
    pub files: Vec<BundleFile>,
    /// How images reach the network's axes.
    pub reader: Reader,
    /// Class names in channel order; the first is the background, but with
    /// [`Decision::Regions`] each names a region and there is no background channel.
    pub classes: Vec<String>,
    /// Input channels.
    pub channels: usize,
    /// Patch size `[z, y, x]` in voxels.
    pub patch: [usize; 3],
    /// Voxel spacing `[z, y, x]` the network was trained at.
    pub spacing_mm: [f64; 3],
    /// `transpose_forward[i]` is the study axis that becomes network axis `i`.
    pub transpose_forward: [usize; 3],
    /// One scheme per channel.
    pub normalisation: Vec<Normalisation>,
    /// How images change spacing.
    pub resampling: Resampling,
    /// How logits change spacing on the way back.
    pub resampling_logits: Resampling,
    /// Network axes 0 to 2 over which outputs of flipped patches are averaged.
    pub mirror_axes: Vec<usize>,
    /// Distance of neighbouring tiles as a share of the patch, in (0, 1].
    pub tile_step: f64,
    /// How tiles, mirrors and folds are averaged.
    pub fusion: Fusion,
    /// How exactly logits are summed.
    pub sums: Sums,
    /// How a voxel's logits become its label.
    pub decision: Decision,
    /// What is done to the finished label map, in order; nothing for a cascade.
    pub postprocessing: Vec<KeepLargest>,
    /// Value of masked voxels after normalisation; only the third stage masks.
    pub mask_value: f32,
    /// The stored patch that every engine must reproduce.
    pub golden: Golden,
}

impl NetworkPlan {
    /// The shape of the engines, `batch` patches per call.
    pub fn spec(&self, batch: usize) -> EngineSpec {
        EngineSpec {
            batch,
            channels: self.channels,
            classes: self.classes.len(),
            patch: self.patch,
        }
    }

    /// The labels that a label map may hold, and their names; without the background of a
    /// network of regions, which has no name.
    pub fn labels(&self) -> impl Iterator<Item = (u8, &str)> {
        self.classes.iter().enumerate().map(|(channel, name)| {
            let label = match &self.decision {
                Decision::Argmax => channel as u8,
                Decision::Regions(order) => order[channel],
            };
            (label, name.as_str())
        })
    }
}

/// What is averaged (method 1.2): an alpha tuned on one is not valid on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fusion {
    /// Logits, as nnU-Net v2.
    Logits,
    /// Softmax probabilities, as nnU-Net v1.
    Probabilities,
}

/// How exactly logits are summed over tiles. Probabilities are always summed in `f32`, as
/// nnU-Net v1 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sums {
    /// Rounded to f16 after every step, as nnU-Net v2 does: the same labels, near ties too.
    #[default]
    F16,
    /// In `f32`: closer to the network, further from nnU-Net.
    F32,
}

/// nnU-Net's two resampling functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// `resample_data_or_seg_to_shape`: cubic images, linear logits.
    Default,
    /// `resample_torch_fornnunet`: linear images, linear logits.
    Torch,
}

/// Along which axes a network sees an image: as its manifest states, or as nnU-Net's readers
/// of NIfTI (`image_reader_writer`) give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// In the orientation it was trained in, whatever order the voxels are stored in.
    Stated(Orientation),
    /// Voxels in the order in which they are stored; orientation is not looked at.
    SimpleItk,
    /// The same order, read by another library.
    Nibabel,
    /// Axes swapped and turned to run to the patient's right, front and head before anything
    /// else, and back at the end.
    NibabelWithReorient,
}

impl Reader {
    /// Those of nnU-Net.
    pub const ALL: [Reader; 3] = [Reader::SimpleItk, Reader::Nibabel, Reader::NibabelWithReorient];

    /// nnU-Net's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Reader::Stated(_) => "stated",
            Reader::SimpleItk => "SimpleITKIO",
            Reader::Nibabel => "NibabelIO",
            Reader::NibabelWithReorient => "NibabelIOWithReorient",
        }
    }

    /// The orientation an image is brought into before the network sees it; `None` for
    /// readers that take voxels in the order in which they are stored.
    pub const fn orientation(self) -> Option<Orientation> {
        match self {
            Reader::Stated(orientation) => Some(orientation),
            Reader::NibabelWithReorient => Some(Orientation::RAS),
            Reader::SimpleItk | Reader::Nibabel => None,
        }
    }
}

/// How the logits of a voxel become its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The best class wins, ties go to the lower one.
    Argmax,
    /// Every region whose sigmoid exceeds one half paints its label, in this order, over
    /// those before it (`regions_class_order`); where none does, background. There are no
    /// lesion gains then.
    Regions(Vec<u8>),
}

/// Of all voxels with one of these labels only the largest connected component is kept, the
/// rest becomes background (`remove_all_but_largest_component_from_segmentation`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepLargest(pub Vec<u8>);

/// The lesion gains of the base and the high-sensitivity reading, both positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GainPair {
    /// Usually 1: no gain.
    pub base: f32,
    /// At least `base`.
    pub high: f32,
}

/// A stored patch and its logits at every `stride`-th voxel.
#[derive(Debug, Clone)]
pub struct Golden {
    /// Raw little-endian `f32` `[channel, z, y, x]`.
    pub input: BundleFile,
    /// Raw little-endian `f32` `[class, ceil(z/sz), ceil(y/sy), ceil(x/sx)]`: one file per
    /// fold, or one that all folds share.
    pub expected: Vec<BundleFile>,
    /// Sampling of the expected logits `[z, y, x]`.
    pub stride: [usize; 3],
}

impl Golden {
    /// Every file of it.
    pub fn files(&self) -> impl Iterator<Item = &BundleFile> {
        std::iter::once(&self.input).chain(&self.expected)
    }

    /// The expected logits of a fold.
    pub(super) fn expected_of(&self, fold: usize) -> &BundleFile {
        // A single file is shared; the manifest's checks leave no other case.
        &self.expected[fold.min(self.expected.len() - 1)]
    }
}
