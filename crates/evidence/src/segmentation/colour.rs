//! The colours that viewers are asked to show segments in.
//!
//! Owns the way from sRGB to what DICOM wants: CIELab under D50, scaled to 16 bits (PS3.3 section
//! C.10.7.1.1).

use hepalert_study::anatomy::{Lesion, Organ};

/// As in the pictures of the report: red for what may be malignant, blue for the rest.
pub(super) fn of_finding(kind: Lesion) -> [u8; 3] {
    if kind.is_malignant() { [255, 70, 60] } else { [90, 170, 255] }
}

pub(super) fn of_organ(organ: Organ) -> [u8; 3] {
    match organ {
        Organ::Liver => [70, 200, 120],
        Organ::HepaticVessels => [70, 120, 200],
        Organ::PortalVein => [60, 90, 170],
        Organ::Gallbladder => [140, 180, 60],
        Organ::Spleen => [170, 110, 90],
        Organ::Pancreas => [220, 180, 110],
        Organ::Stomach => [200, 150, 160],
    }
}

pub(super) fn cie_lab(rgb: [u8; 3]) -> [u16; 3] {
    let [r, g, b] = rgb.map(|value| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    // sRGB to XYZ, adapted to D50 (Bradford), over the white of D50.
    let over_white = [
        (0.436_074_7 * r + 0.385_064_9 * g + 0.143_080_4 * b) / 0.964_22,
        0.222_504_5 * r + 0.716_878_6 * g + 0.060_616_9 * b,
        (0.013_932_2 * r + 0.097_104_5 * g + 0.714_173_3 * b) / 0.825_21,
    ];
    let [fx, fy, fz] = over_white.map(|t| {
        const EDGE: f64 = 6.0 / 29.0;
        if t > EDGE * EDGE * EDGE { t.cbrt() } else { t / (3.0 * EDGE * EDGE) + 4.0 / 29.0 }
    });
    let lab = [116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)];
    let scaled = |value: f64, low: f64, span: f64| ((value - low) / span * 65535.0).round() as u16;
    [scaled(lab[0], 0.0, 100.0), scaled(lab[1], -128.0, 255.0), scaled(lab[2], -128.0, 255.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_black_and_red_are_where_they_belong() {
        let near = |rgb, lab: [f64; 3]| {
            let [l, a, b] = cie_lab(rgb).map(f64::from);
            let found =
                [l / 65535.0 * 100.0, a / 65535.0 * 255.0 - 128.0, b / 65535.0 * 255.0 - 128.0];
            for (found, wanted) in found.iter().zip(lab) {
                assert!((found - wanted).abs() < 0.5, "{found} {wanted}");
            }
        };
        near([0, 0, 0], [0.0, 0.0, 0.0]);
        near([255, 255, 255], [100.0, 0.0, 0.0]);
        near([255, 0, 0], [54.3, 80.8, 69.9]);
    }
}
