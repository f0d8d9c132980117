//! What lies far from the liver, or in air, is no lesion of it.
//!
//! Owns the rule and its two names in reports, `far_from_liver` and `in_air`. It goes by the base
//! view's liver: where a network also saw liver in heart or bowel, the piece with most parenchyma
//! counts, and pieces of at least a quarter of that. Refuses to judge where no liver was seen: the
//! third stage discards such lesions by itself. Our own rule, not the paper's; its sister work
//! has a distance too.

use std::ops::Range;

use ndarray::{Array3, ArrayView3, s};

use crate::detect::{Detection, Region};
use hepalert_study::anatomy::{Organ, is_of_liver};
use hepalert_study::outcome::KeepReason;
use hepalert_study::study::AlignedStudy;
use hepalert_voxels::image::components::{Run, whole_components};
use hepalert_voxels::image::distance::squared_distance_mm2;
use hepalert_voxels::volume::LabelMap;

/// A lesion on the surface touches the liver or what the network calls lesion around it; masks of
/// thick slices may leave a gap of one slice and some millimetres.
const FAR_MM: f64 = 10.0;
/// No tissue is darker in the mean, lung included that breathing mixed in.
const AIR_HU: f64 = -300.0;
/// A piece of liver with this share of the largest one's parenchyma is liver as well.
const PIECE: f64 = 0.25;

/// The liver of one study, for asking what lies around it.
pub(super) struct Surroundings<'a> {
    study: &'a AlignedStudy,
    liver: Option<Array3<bool>>,
}

impl<'a> Surroundings<'a> {
    /// Finds the liver in the labels of the base view.
    pub(super) fn new(study: &'a AlignedStudy, labels: &LabelMap) -> Surroundings<'a> {
        Surroundings { study, liver: true_liver(labels.voxels().view()) }
    }

    /// The liver `[z, y, x]`; all false if none was seen.
    pub(super) fn into_liver(self) -> Array3<bool> {
        self.liver.unwrap_or_else(|| Array3::from_elem(self.study.grid().shape(), false))
    }

    /// Why this is no lesion of the liver, if so.
    pub(super) fn objection(&self, lesion: &Detection) -> Option<KeepReason> {
        if self.is_in_air(lesion) {
            return Some(KeepReason::InAir);
        }
        let liver = self.liver.as_ref()?;
        let far = !touches(lesion, liver) && self.distance_mm(lesion, liver) > FAR_MM;
        far.then_some(KeepReason::FarFromLiver)
    }

    /// Dark as air in every phase.
    fn is_in_air(&self, lesion: &Detection) -> bool {
        self.study.phases().iter().all(|(_, volume)| {
            let of_run = |([z, y], columns): ([usize; 2], Range<usize>)| {
                volume.voxels().slice(s![z, y, columns]).iter().map(|v| f64::from(*v)).sum::<f64>()
            };
            lesion.runs().map(of_run).sum::<f64>() / (lesion.voxels as f64) < AIR_HU
        })
    }

    /// From the lesion to the liver; infinite if there is none within [`FAR_MM`] of its box.
    fn distance_mm(&self, lesion: &Detection, liver: &Array3<bool>) -> f64 {
        let spacing_mm = self.study.grid().spacing_mm();
        let shape: [usize; 3] = liver.dim().into();
        let reach = spacing_mm.map(|mm| (FAR_MM / mm).ceil() as usize);
        let Region { lo, hi } = lesion.region;
        let lo: [usize; 3] = std::array::from_fn(|axis| lo[axis].saturating_sub(reach[axis]));
        let hi: [usize; 3] = std::array::from_fn(|axis| shape[axis].min(hi[axis] + reach[axis]));
        let near = liver.slice(s![lo[0]..hi[0], lo[1]..hi[1], lo[2]..hi[2]]);
        if !near.iter().any(|on| *on) {
            return f64::INFINITY;
        }
        let squared = squared_distance_mm2(near, spacing_mm);
        let least = lesion.runs().flat_map(|([z, y], columns)| {
            let columns = columns.start - lo[2]..columns.end - lo[2];
            squared.slice(s![z - lo[0], y - lo[1], columns]).to_vec()
        });
        f64::from(least.fold(f32::INFINITY, f32::min)).sqrt()
    }
}

fn touches(lesion: &Detection, liver: &Array3<bool>) -> bool {
    lesion.runs().any(|([z, y], columns)| liver.slice(s![z, y, columns]).iter().any(|on| *on))
}

/// Liver, lesions and vessels that hang together with most parenchyma.
fn true_liver(labels: ArrayView3<'_, u8>) -> Option<Array3<bool>> {
    let members = labels.mapv(|label| u8::from(is_of_liver(label)));
    let found = whole_components(members.view());
    let row = |run: &Run| s![run.z as usize, run.y as usize, run.x_lo as usize..run.x_hi as usize];
    let mut parenchyma = vec![0_usize; found.count];
    for run in &found.runs {
        let liver =
            labels.slice(row(run)).iter().filter(|label| **label == Organ::Liver.label()).count();
        parenchyma[run.component as usize] += liver;
    }
    let most = parenchyma.iter().copied().max().filter(|most| *most > 0)?;
    let least = most as f64 * PIECE;
    let mut liver = Array3::from_elem(labels.raw_dim(), false);
    for run in &found.runs {
        if parenchyma[run.component as usize] as f64 >= least {
            liver.slice_mut(row(run)).fill(true);
        }
    }
    Some(liver)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::detect::seg2det;
    use hepalert_study::phase::Phase;
    use hepalert_study::study::{Study, StudyKey};
    use hepalert_voxels::volume::{Grid, Volume};

    const SHAPE: [usize; 3] = [6, 20, 60];

    /// A study of 5 x 2 x 2 mm voxels with this density, and what becomes of each lesion in order.
    fn objections(
        paint: impl Fn([usize; 3]) -> u8,
        hu: impl Fn([usize; 3]) -> f32,
    ) -> Vec<Option<KeepReason>> {
        let grid = Arc::new(Grid::axial(SHAPE, [5.0, 2.0, 2.0], [0.0; 3]));
        let at = |(z, y, x): (usize, usize, usize)| [z, y, x];
        let labels =
            LabelMap::new(Arc::clone(&grid), Array3::from_shape_fn(SHAPE, |i| paint(at(i))));
        let image = Volume::new(grid, Array3::from_shape_fn(SHAPE, |i| hu(at(i))));
        let key = StudyKey::new(&"0".repeat(32)).unwrap();
        let phases = BTreeMap::from([(Phase::Vp, image)]);
        let study = AlignedStudy::from_study(Study { key, phases }, &[Phase::Vp]).unwrap();
        let around = Surroundings::new(&study, &labels);
        let rules = seg2det::DetectParams::default();
        let lesions =
            seg2det::seg2det_within(&labels, &rules, &seg2det::FragmentLimits::default()).unwrap();
        lesions.iter().map(|lesion| around.objection(lesion)).collect()
    }

    /// Liver in columns 0 to 20 and a speck of it at 50; a lesion of this type and these columns.
    fn liver_and(kind: u8, columns: Range<usize>) -> impl Fn([usize; 3]) -> u8 {
        move |[_, y, x]| match x {
            _ if columns.contains(&x) && (5..15).contains(&y) => kind,
            0..20 => 7,
            50..53 if y < 5 => 7,
            _ => 0,
        }
    }

    #[test]
    fn near_lesions_stay_and_far_ones_go_with_their_own_liver() {
        let soft = |_: [usize; 3]| 60.0;
        assert_eq!(objections(liver_and(3, 5..12), soft), [None], "within");
        assert_eq!(objections(liver_and(3, 20..26), soft), [None], "on the surface");
        assert_eq!(objections(liver_and(3, 24..30), soft), [None], "10 mm away");
        assert_eq!(objections(liver_and(3, 25..31), soft), [Some(KeepReason::FarFromLiver)]);
        // It touches a speck that the network took for liver.
        let heart = |[_, y, x]: [usize; 3]| match x {
            0..20 => 7,
            50..53 => 7,
            45..50 if y < 12 => 3,
            _ => 0,
        };
        assert_eq!(objections(heart, soft), [Some(KeepReason::FarFromLiver)]);
    }

    #[test]
    fn a_large_second_piece_is_liver_too() {
        let two = |[_, y, x]: [usize; 3]| match x {
            0..20 => 7,
            40..50 => 7,
            50..55 if y < 12 => 1,
            _ => 0,
        };
        assert_eq!(objections(two, |_| 60.0), [None]);
    }

    #[test]
    fn air_is_no_lesion_and_no_liver_is_no_objection() {
        let dark = |[_, _, x]: [usize; 3]| if x < 12 { -800.0 } else { 60.0 };
        assert_eq!(objections(liver_and(6, 5..12), dark), [Some(KeepReason::InAir)]);
        let alone = |[_, y, x]: [usize; 3]| if x > 50 && y < 12 { 2 } else { 0 };
        assert_eq!(objections(alone, |_| 60.0), [None]);
    }
}
