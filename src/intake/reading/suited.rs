//! Whether a reconstruction shows a liver as networks were trained on it.
//!
//! Owns the words and numbers of spectral maps and of sharp kernels. What a header does not
//! say is not held against a series.

use hepalert_voxels::volume::dicom::read::SliceHeader;

/// Words of ImageType and SeriesDescription for images computed of two energies whose values
/// are not what a scanner at one voltage measures.
const MAPS: [&str; 19] = [
    "VNC",
    "VUE",
    "VIRTUAL_NON_CONTRAST",
    "IODINE",
    "IOD",
    "IODMAP",
    "CALCIUM",
    "WATER",
    "FAT_MAP",
    "Z_EFF",
    "ZEFF",
    "RHO",
    "RHOZ",
    "ELECTRON_DENSITY",
    "MATERIAL",
    "MD",
    "PBV",
    "OVERLAY",
    "FUSION",
];

/// Words of images as of one X-ray energy: Hounsfield units, but of another scale.
const MONO: [&str; 6] = ["MONO", "MONO+", "MONOENERGETIC", "MONOE", "MONOCHROMATIC", "KEV"];

/// Kernels of lung and bone by name: GE, Philips, and words that all use.
const SHARP: [&str; 17] = [
    "LUNG", "BONE", "BONEPLUS", "EDGE", "SHARP", "ULTRA", "E", "L", "LA", "LB", "YA", "YB", "YC",
    "YD", "EA", "EB", "EC",
];

/// Siemens counts from soft to sharp within a letter code: liver is read at 30 to 46, bone
/// and lung begin at 50. Canon's FC30 and above are bone, lung and inner ear.
const SHARP_SIEMENS: u32 = 50;
const SHARP_CANON: u32 = 30;

/// Whether the values are something else than measured Hounsfield units.
pub(crate) fn is_map(header: &SliceHeader) -> bool {
    let other_unit = header.rescale_type.as_deref().is_some_and(|unit| {
        let unit = unit.trim().to_uppercase();
        !["", "HU", "US"].contains(&unit.as_str())
    });
    other_unit || says(header, &MAPS)
}

/// Whether the image is as of one X-ray energy.
pub(crate) fn is_mono(header: &SliceHeader) -> bool {
    says(header, &MONO)
}

/// Words as they stand, and parts of ImageType whole: `Z_EFF` is one.
fn says(header: &SliceHeader, list: &[&str]) -> bool {
    let text = header.image_type.iter().chain(&header.series_description);
    text.flat_map(|text| {
        let text = text.trim().to_uppercase().replace("NON CONTRAST", "NON_CONTRAST");
        let joined = text.replace([' ', '-'], "_");
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '+'));
        let words: Vec<String> = words
            .map(|word| word.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned())
            .collect();
        words.into_iter().chain([joined])
    })
    .any(|word| list.contains(&word.as_str()))
}

/// `Bl57f\3`, `B70f`, `FC51`, `LUNG`, `YA`.
pub(crate) fn is_sharp(kernel: &str) -> bool {
    let kernel = kernel.split('\\').next().unwrap_or_default().trim().to_uppercase();
    let letters: String = kernel.chars().take_while(char::is_ascii_alphabetic).collect();
    let digits: String = kernel[letters.len()..].chars().take_while(char::is_ascii_digit).collect();
    let number = digits.parse::<u32>().ok();
    match (letters.as_str(), number) {
        ("FC", Some(number)) => number >= SHARP_CANON,
        (letters, Some(number)) if letters.len() <= 2 => {
            letters.ends_with('L') || number >= SHARP_SIEMENS
        }
        _ => kernel.split(|c: char| !c.is_alphanumeric()).any(|word| SHARP.contains(&word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_of_lung_and_bone_are_known_by_name_and_number() {
        for sharp in
            ["Bl57f\\3", "B70f", "Br64d", "I70f\\3", "LUNG", "BONEPLUS", "YA", "L", "FC51", "FC30"]
        {
            assert!(is_sharp(sharp), "{sharp}");
        }
        for soft in [
            "Br40f\\3", "B30f", "I31f\\2", "Qr40", "STANDARD", "SOFT", "B", "C", "FC08", "", "Bf42",
        ] {
            assert!(!is_sharp(soft), "{soft}");
        }
    }
}
