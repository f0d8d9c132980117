//! What a voxel can be: six lesion types, seven organs and vessels, background.
//!
//! Owns the label values (the same in every label map, file and network output) and the
//! order of priority among lesions. Knows nothing of images.

use std::fmt;

/// Number of classes of the segmentation network, background included.
pub const CLASS_COUNT: usize = 14;

/// A lesion type. The order is the order of clinical priority: `Hcc` is the most urgent,
/// and `a < b` means that `a` outranks `b` (Eq. 12 takes the minimum).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lesion {
    /// Hepatocellular carcinoma.
    Hcc = 1,
    /// Intrahepatic cholangiocarcinoma.
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
    pub const ALL: [Lesion; 6] =
        [Lesion::Hcc, Lesion::Icc, Lesion::Meta, Lesion::Hem, Lesion::Other, Lesion::Cyst];

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
    pub const fn name(self) -> &'static str {
        match self {
            Lesion::Hcc => "HCC",
            Lesion::Icc => "ICC",
            Lesion::Meta => "Meta",
            Lesion::Hem => "Hem",
            Lesion::Other => "Other",
            Lesion::Cyst => "Cyst",
        }
    }

    /// The inverse of [`Lesion::name`].
    pub fn from_name(name: &str) -> Option<Lesion> {
        Lesion::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Lesion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An organ or vessel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    pub const ALL: [Organ; 7] = [
        Organ::Liver,
        Organ::HepaticVessels,
        Organ::PortalVein,
        Organ::Gallbladder,
        Organ::Spleen,
        Organ::Pancreas,
        Organ::Stomach,
    ];

    /// The value of this organ in a label map: 7 to 13.
    pub const fn label(self) -> u8 {
        self as u8
    }

    /// The name used in reports and manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Organ::Liver => "liver",
            Organ::HepaticVessels => "hepatic_vessels",
            Organ::PortalVein => "portal_vein",
            Organ::Gallbladder => "gallbladder",
            Organ::Spleen => "spleen",
            Organ::Pancreas => "pancreas",
            Organ::Stomach => "stomach",
        }
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

/// True for the label values 1 to 6.
pub const fn is_lesion(label: u8) -> bool {
    label >= 1 && label <= 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_names_round_trip() {
        for kind in Lesion::ALL {
            assert_eq!(Lesion::from_label(kind.label()), Some(kind));
            assert_eq!(Lesion::from_name(kind.name()), Some(kind));
            assert!(is_lesion(kind.label()));
        }
        assert_eq!(Lesion::from_label(0), None);
        assert_eq!(Lesion::from_label(7), None);
        assert_eq!(class_names()[13], "stomach");
    }

    #[test]
    fn priority_runs_from_hcc_to_cyst() {
        assert!(Lesion::Hcc < Lesion::Icc && Lesion::Other < Lesion::Cyst);
        let malignant = Lesion::ALL.map(Lesion::is_malignant);
        assert_eq!(malignant, [true, true, true, false, false, false]);
    }
}
