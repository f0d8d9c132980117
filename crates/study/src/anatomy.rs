//! What a voxel can be: six lesion types, seven organs and vessels, background.
//!
//! Owns the label values (the same in every label map, file and network output) and the
//! order of priority among lesions. Knows nothing of images.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::{all, displayed_by_name};

/// Number of classes of the segmentation network, background included.
pub const CLASS_COUNT: usize = 14;

/// A lesion type. The order is the order of clinical priority: `Hcc` is the most urgent,
/// and `a < b` means that `a` outranks `b` (Eq. 12 takes the minimum).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[repr(u8)]
pub enum Lesion {
    /// Hepatocellular carcinoma.
    #[serde(rename = "HCC")]
    #[strum(serialize = "HCC")]
    Hcc = 1,
    /// Intrahepatic cholangiocarcinoma.
    #[serde(rename = "ICC")]
    #[strum(serialize = "ICC")]
    Icc = 2,
    /// Metastasis.
    Meta = 3,
    /// Haemangioma.
    Hem = 4,
    /// Any other benign lesion.
    Other = 5,
    /// Cyst.
    Cyst = 6,
}

impl Lesion {
    /// All types, most urgent first.
    pub const ALL: [Lesion; 6] = all(Lesion::VARIANTS);

    /// The value of this type in a label map: 1 to 6.
    pub const fn label(self) -> u8 {
        self as u8
    }

    /// The type with this label value, if it is one.
    pub const fn from_label(label: u8) -> Option<Lesion> {
        match label {
            1 => Some(Lesion::Hcc),
            2 => Some(Lesion::Icc),
            3 => Some(Lesion::Meta),
            4 => Some(Lesion::Hem),
            5 => Some(Lesion::Other),
            6 => Some(Lesion::Cyst),
            _ => None,
        }
    }

    /// HCC, ICC and metastasis are malignant.
    pub const fn is_malignant(self) -> bool {
        matches!(self, Lesion::Hcc | Lesion::Icc | Lesion::Meta)
    }

    /// The name used in reports, messages and tables.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

displayed_by_name!(Lesion);

/// An organ or vessel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
pub enum Organ {
    /// Liver parenchyma.
    Liver = 7,
    /// Hepatic veins and arteries inside the liver.
    HepaticVessels = 8,
    /// Portal and splenic vein.
    PortalVein = 9,
    /// Gallbladder.
    Gallbladder = 10,
    /// Spleen.
    Spleen = 11,
    /// Pancreas.
    Pancreas = 12,
    /// Stomach.
    Stomach = 13,
}

impl Organ {
    /// All organs in label order.
    pub const ALL: [Organ; 7] = all(Organ::VARIANTS);

    /// The value of this organ in a label map: 7 to 13.
    pub const fn label(self) -> u8 {
        self as u8
    }

    /// The name used in reports and manifests.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The class names of the segmentation network in channel order.
pub fn class_names() -> [&'static str; CLASS_COUNT] {
    let mut names = ["background"; CLASS_COUNT];
    for kind in Lesion::ALL {
        names[usize::from(kind.label())] = kind.name();
    }
    for organ in Organ::ALL {
        names[usize::from(organ.label())] = organ.name();
    }
    names
}

/// The label values of lesions: 1 to 6.
pub const LESION_LABELS: RangeInclusive<u8> = Lesion::Hcc.label()..=Lesion::Cyst.label();

/// True for the label values 1 to 6.
pub const fn is_lesion(label: u8) -> bool {
    *LESION_LABELS.start() <= label && label <= *LESION_LABELS.end()
}

/// True for the liver and what lies in it: lesions and hepatic vessels, not the portal vein.
pub const fn is_of_liver(label: u8) -> bool {
    is_lesion(label) || label == Organ::Liver.label() || label == Organ::HepaticVessels.label()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_names_round_trip() {
        for kind in Lesion::ALL {
            assert_eq!(Lesion::from_label(kind.label()), Some(kind));
            assert_eq!(kind.name().parse(), Ok(kind));
            assert!(is_lesion(kind.label()));
        }
        let labels: Vec<u8> = LESION_LABELS.collect();
        assert_eq!(labels, Lesion::ALL.map(Lesion::label));
        assert_eq!(Lesion::from_label(0), None);
        assert_eq!(Lesion::from_label(7), None);
        assert!("hcc".parse::<Lesion>().is_err() && "normal".parse::<Lesion>().is_err());
        assert_eq!(class_names()[13], "stomach");
    }

    #[test]
    fn priority_runs_from_hcc_to_cyst() {
        assert!(Lesion::Hcc < Lesion::Icc && Lesion::Other < Lesion::Cyst);
        let malignant = Lesion::ALL.map(Lesion::is_malignant);
        assert_eq!(malignant, [true, true, true, false, false, false]);
    }
}
