//! How a series was reconstructed, and which of several reconstructions is read.
//!
//! Owns what kernels and image types mean, and the order among them. Refuses to look at
//! phases: two series are compared that show the same scan.

use hepalert_study::series::{Fitness, Recon, Scan};
use hepalert_voxels::volume::dicom::SliceHeader;

use super::words;
use crate::intake::reading::suited::{is_mono, is_sharp};

/// Reads a header.
pub(crate) fn of(header: &SliceHeader) -> Recon {
    let kinds = image_words(header);
    let says = |list: &[&str]| kinds.iter().any(|word| list.contains(&word.as_str()));
    let text = header.series_description.as_deref().unwrap_or_default();
    let sharp = header.convolution_kernel.as_deref().is_some_and(is_sharp);
    let mono = is_mono(header);
    let fitness = if sharp || words::unsuited(text) && !mono {
        Fitness::Sharp
    } else if mono {
        Fitness::MonoEnergetic
    } else {
        Fitness::Soft
    };
    Recon {
        fitness,
        original: !says(&["DERIVED", "SECONDARY"]),
        archived: says(&["RESAMPLED", "AVERAGE", "AVERAGED", "THICK", "COMPRESSED"]),
        thickness_mm: header.slice_thickness_mm,
        series_number: header.series_number,
        acquisition_number: header.acquisition_number,
    }
}

/// The words of ImageType in capitals.
pub(crate) fn image_words(header: &SliceHeader) -> Vec<String> {
    let parts = header.image_type.iter().flat_map(|part| part.split([' ', '_']));
    parts.map(str::to_uppercase).collect()
}

/// What a choice among reconstructions goes by; the greater is read. No digest of a UID ever
/// decides: series number and slices come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    fit: std::cmp::Reverse<Fitness>,
    /// In steps of 50 mm: two reconstructions of one scan differ by a slice.
    coverage: i64,
    own: bool,
    original: bool,
    /// Thickness of 2 to 5.5 mm, as engines were trained for, before thinner and thicker.
    usual: bool,
    slices: usize,
    number: std::cmp::Reverse<i64>,
}

/// The rank of a reconstruction.
pub(crate) fn rank(scan: &Scan) -> Rank {
    let Scan { recon, slices, coverage_mm, .. } = scan;
    let (slices, coverage_mm) = (*slices, *coverage_mm);
    let step = if slices > 1 { coverage_mm / (slices - 1) as f64 } else { 0.0 };
    let thick = recon.thickness_mm.unwrap_or(step).max(step);
    Rank {
        fit: std::cmp::Reverse(recon.fitness),
        coverage: (coverage_mm / 50.0).round() as i64,
        own: !recon.archived,
        original: recon.original,
        usual: (0.9..5.6).contains(&thick),
        slices,
        number: std::cmp::Reverse(recon.series_number.unwrap_or(i64::MAX)),
    }
}

/// Why one series is read and not the other, in a word.
pub(crate) fn reason(chosen: Rank, other: Rank) -> &'static str {
    if chosen.fit != other.fit {
        "another kernel or kind suits the liver better"
    } else if chosen.coverage != other.coverage {
        "another covers more of the body"
    } else if chosen.own != other.own {
        "rewritten by an archive"
    } else if chosen.original != other.original {
        "derived or secondary; the original is there"
    } else if chosen.usual != other.usual {
        "thinner or thicker than engines are trained for"
    } else if chosen.slices != other.slices {
        "another has more slices"
    } else {
        "another has the lower series number"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_whole_original_of_usual_thickness_is_read() {
        let rank = |recon: &Recon, slices, coverage_mm| {
            let (named, recon) = (Vec::new(), recon.clone());
            rank(&Scan { named, contrast: true, acquired_ms: None, slices, coverage_mm, recon })
        };
        let soft = Recon::default();
        let sharp = Recon { fitness: Fitness::Sharp, ..soft.clone() };
        assert!(rank(&soft, 40, 200.0) > rank(&sharp, 200, 200.0));
        let derived = Recon { original: false, ..soft.clone() };
        assert!(rank(&soft, 40, 200.0) > rank(&derived, 80, 200.0));
        assert!(rank(&soft, 80, 200.0) > rank(&soft, 40, 200.0));
        assert!(rank(&soft, 40, 300.0) > rank(&soft, 80, 200.0));
        let [a, b] = [4, 103].map(|n| Recon { series_number: Some(n), ..soft.clone() });
        assert!(rank(&a, 40, 200.0) > rank(&b, 40, 200.0));
        assert_eq!(
            reason(rank(&a, 40, 200.0), rank(&b, 40, 200.0)),
            "another has the lower series number"
        );
    }
}
