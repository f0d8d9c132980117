//! Pieces of one lesion become one again after the third stage.
//!
//! The first network often gives the parts of one lesion several types; seg2det takes types
//! apart, and the third stage may then give all parts the same type. Owns the rule: kept pieces
//! of one view and one type that touch, as voxels of one lesion do in seg2det, are one lesion.
//! Refuses to join what was discarded, and pieces of different types. The verdict asks for types
//! alone, so it is the same before and after.

use std::collections::BTreeMap;

use hepalert_study::anatomy::Lesion;
use hepalert_voxels::image::components::{Run, components};
use ndarray::{Array3, s};

use super::super::detect::{Detection, seg2det};
use super::super::reclassify::Reclassified;

/// A kept piece with what the second network said of it.
pub(crate) type Piece = (Detection, Option<Reclassified>);

/// A lesion after joining: itself, and the pieces it was made of, largest first; none if it
/// was whole from the beginning.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Joined {
    /// The whole lesion.
    pub whole: Piece,
    /// Its pieces, if there are several.
    pub pieces: Vec<Piece>,
}

/// Joins pieces that touch, in the order of their first voxels. Pieces do not overlap and each hangs
/// together by the rule of seg2det: painted into one map, its components are the lesions.
pub(crate) fn join(pieces: Vec<Piece>) -> Vec<Joined> {
    let regions = pieces.iter().map(|(piece, _)| piece.region);
    let Some(hull) = regions.reduce(|hull, region| hull.hull(&region)) else { return Vec::new() };
    let mut map = Array3::<u8>::zeros(hull.shape());
    for (piece, _) in &pieces {
        paint(&mut map, hull.lo, piece, piece.kind.label());
    }
    let lesions = Lesion::Hcc.label()..=Lesion::Cyst.label();
    let parts = components(map.view(), lesions, seg2det::DetectParams::default().in_plane);
    let component = |piece: &Detection| {
        let ([z, y], columns) = piece.runs().next()?;
        let [z, y, x] = [z - hull.lo[0], y - hull.lo[1], columns.start - hull.lo[2]];
        let before = |run: &Run| [run.z, run.y, run.x_lo].map(|n| n as usize) <= [z, y, x];
        Some(parts.runs[parts.runs.partition_point(before) - 1].component)
    };
    let mut groups: BTreeMap<Option<u32>, Vec<Piece>> = BTreeMap::new();
    for piece in pieces {
        groups.entry(component(&piece.0)).or_default().push(piece);
    }
    groups.into_values().map(whole).collect()
}

fn paint<T: Copy>(map: &mut Array3<T>, lo: [usize; 3], piece: &Detection, value: T) {
    for ([z, y], columns) in piece.runs() {
        let row = s![z - lo[0], y - lo[1], columns.start - lo[2]..columns.end - lo[2]];
        map.slice_mut(row).fill(value);
    }
}

fn whole(mut pieces: Vec<Piece>) -> Joined {
    if pieces.len() == 1 {
        return Joined { whole: pieces.remove(0), pieces };
    }
    pieces.sort_by_key(|(piece, _)| (std::cmp::Reverse(piece.voxels), piece.region));
    let first = &pieces[0].0;
    let region = pieces.iter().fold(first.region, |hull, (piece, _)| hull.hull(&piece.region));
    let mut mask = Array3::from_elem(region.shape(), false);
    for (piece, _) in &pieces {
        paint(&mut mask, region.lo, piece, true);
    }
    let detection = Detection {
        id: first.id,
        kind: first.kind,
        region,
        mask,
        voxels: pieces.iter().map(|(piece, _)| piece.voxels).sum(),
        volume_cm3: pieces.iter().map(|(piece, _)| piece.volume_cm3).sum(),
    };
    let judged: Option<Vec<&Reclassified>> = pieces.iter().map(|(_, j)| j.as_ref()).collect();
    let judged = judged.map(|judged| together(&judged, detection.volume_cm3));
    Joined { whole: (detection, judged), pieces }
}

/// What was said of all pieces: overlaps, scores and votes add up, and so do variances, since
/// every piece had patches of its own. Without a score for each there is none for the whole.
fn together(judged: &[&Reclassified], volume_cm3: f64) -> Reclassified {
    let sum = |of: &dyn Fn(&Reclassified) -> Option<f64>| {
        judged.iter().map(|judged| of(judged)).sum::<Option<f64>>()
    };
    let first = judged[0];
    let score_cm3 = sum(&|judged| judged.score_cm3);
    let variance = sum(&|judged| judged.score_std_cm3.map(|std| std * std));
    let count = judged.iter().map(|judged| judged.patch_volumes_cm3.len()).min().unwrap_or(0);
    let patch = |n: usize| judged.iter().map(|judged| judged.patch_volumes_cm3[n]).sum();
    Reclassified {
        score_cm3,
        score_std_cm3: variance.map(f64::sqrt),
        ratio: score_cm3.filter(|_| volume_cm3 > 0.0).map(|score| score / volume_cm3),
        patch_volumes_cm3: (0..count).map(patch).collect(),
        votes_cm3: std::array::from_fn(|kind| judged.iter().map(|j| j.votes_cm3[kind]).sum()),
        patches_run: judged.iter().map(|judged| judged.patches_run).sum(),
        ..first.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::detect::Region;
    use super::*;
    use hepalert_study::outcome::KeepReason;

    fn piece(id: u32, kind: Lesion, voxels: &[[usize; 3]]) -> Piece {
        let lo = std::array::from_fn(|axis| voxels.iter().map(|v| v[axis]).min().unwrap());
        let hi = std::array::from_fn(|axis| voxels.iter().map(|v| v[axis] + 1).max().unwrap());
        let region = Region { lo, hi };
        let mut mask = Array3::from_elem(region.shape(), false);
        for v in voxels {
            mask[[v[0] - lo[0], v[1] - lo[1], v[2] - lo[2]]] = true;
        }
        let count = voxels.len();
        let detection =
            Detection { id, kind, region, mask, voxels: count, volume_cm3: count as f64 };
        let judged = Reclassified {
            id,
            kept: true,
            why: KeepReason::Kept,
            score_cm3: Some(count as f64 / 2.0),
            score_std_cm3: Some(3.0),
            ratio: Some(0.5),
            patch_volumes_cm3: vec![1.0, 2.0],
            votes_cm3: [1.0; 6],
            label_before: Lesion::Meta,
            label_after: kind,
            patches_run: 2,
        };
        (detection, Some(judged))
    }

    fn ids(joined: &[Joined]) -> Vec<(u32, usize)> {
        joined.iter().map(|one| (one.whole.0.id, one.pieces.len())).collect()
    }

    #[test]
    fn pieces_touch_as_voxels_of_one_lesion_do() {
        let hcc = Lesion::Hcc;
        let at = |id, voxel| piece(id, hcc, &[voxel]);
        let count = |other| join(vec![at(1, [4, 4, 4]), at(2, other)]).len();
        for joined in [[4, 4, 5], [4, 5, 5], [4, 3, 3], [5, 4, 4], [3, 4, 4]] {
            assert_eq!(count(joined), 1, "{joined:?}");
        }
        for apart in [[4, 4, 6], [5, 4, 5], [5, 5, 4], [6, 4, 4], [4, 6, 4]] {
            assert_eq!(count(apart), 2, "{apart:?}");
        }
    }

    #[test]
    fn one_piece_may_join_others_and_types_stay_apart() {
        let [hcc, cyst] = [Lesion::Hcc, Lesion::Cyst];
        let row = |id, kind, x: usize| piece(id, kind, &[[0, 0, x], [0, 0, x + 1]]);
        let pieces = vec![row(1, hcc, 0), row(2, hcc, 4), row(3, hcc, 2), row(4, cyst, 6)];
        let joined = join(pieces.clone());
        assert_eq!(ids(&joined), [(1, 3), (4, 0)]);
        let (whole, judged) = &joined[0].whole;
        assert_eq!((whole.voxels, whole.volume_cm3), (6, 6.0));
        assert_eq!(whole.region, Region { lo: [0; 3], hi: [1, 1, 6] });
        assert!(whole.mask.iter().all(|on| *on));
        let judged = judged.as_ref().unwrap();
        assert_eq!((judged.score_cm3, judged.ratio), (Some(3.0), Some(0.5)));
        assert_eq!((judged.patches_run, judged.patch_volumes_cm3.clone()), (6, vec![3.0, 6.0]));
        assert!((judged.score_std_cm3.unwrap() - 27f64.sqrt()).abs() < 1e-9);
        let mut other_way = pieces;
        other_way.reverse();
        let back = join(other_way);
        let again = back.iter().find(|joined| joined.pieces.len() == 3).unwrap();
        assert_eq!(again.whole.0.mask, whole.mask, "in any order");
    }

    #[test]
    fn thousands_of_specks_are_joined_in_a_moment() {
        let speck = |n: usize| piece(n as u32, Lesion::Meta, &[[n / 100, (n % 100) * 2, 0]]);
        let began = std::time::Instant::now();
        let joined = join((0..8000).map(speck).collect());
        assert_eq!(joined.len(), 100, "columns of specks, one above the other");
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    }

    #[test]
    fn without_a_second_network_there_is_no_judgement() {
        let bare = |id, x| (piece(id, Lesion::Meta, &[[0, 0, x]]).0, None);
        let joined = join(vec![bare(1, 0), bare(2, 1)]);
        assert_eq!((joined.len(), &joined[0].whole.1), (1, &None));
        let mut bypassed = piece(3, Lesion::Meta, &[[0, 0, 2]]);
        bypassed.1.as_mut().unwrap().score_cm3 = None;
        let joined = join(vec![piece(1, Lesion::Meta, &[[0, 0, 1]]), bypassed]);
        assert_eq!(joined[0].whole.1.as_ref().unwrap().score_cm3, None);
    }
}
