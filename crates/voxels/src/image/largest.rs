//! Keeping the largest piece of what carries certain labels.
//!
//! Pieces are joined by faces, edges and corners (26 neighbours), as scikit-image joins them
//! by default. Knows nothing of what a label stands for.

use ndarray::Array3;

use super::components::whole_components;

/// Of all voxels whose label is in `kept` only the largest connected component stays, the
/// labels taken together; the rest becomes 0. Components of equal size all stay
/// (`remove_all_but_largest_component_from_segmentation`).
///
/// # Panics
/// If there are more than 2^32 - 1 voxels: the format readers bound them.
pub fn keep_largest(labels: &mut Array3<u8>, kept: &[u8]) {
    let mask = labels.mapv(|label| u8::from(kept.contains(&label)));
    let found = whole_components(mask.view());
    let mut sizes = vec![0_usize; found.count];
    for run in &found.runs {
        sizes[run.component as usize] += run.voxels();
    }
    let largest = sizes.iter().copied().max().unwrap_or(0);
    for run in found.runs.iter().filter(|run| sizes[run.component as usize] < largest) {
        for x in run.x_lo..run.x_hi {
            labels[[run.z as usize, run.y as usize, x as usize]] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::arr3;

    use super::*;

    #[test]
    fn corners_join_and_labels_count_together() {
        let mut labels = arr3(&[
            [[1_u8, 0, 0, 0, 3], [0, 0, 0, 0, 0], [0, 0, 0, 0, 2]],
            [[0, 2, 0, 0, 0], [0, 0, 0, 0, 0], [3, 0, 0, 0, 2]],
        ]);
        keep_largest(&mut labels, &[1, 2]);
        // 1 and 2 touch by a corner: two voxels, as many as the pair at the right end.
        let kept = arr3(&[
            [[1_u8, 0, 0, 0, 3], [0, 0, 0, 0, 0], [0, 0, 0, 0, 2]],
            [[0, 2, 0, 0, 0], [0, 0, 0, 0, 0], [3, 0, 0, 0, 2]],
        ]);
        assert_eq!(labels, kept, "equal sizes all stay, other labels are not touched");
        labels[[1, 1, 4]] = 2;
        keep_largest(&mut labels, &[1, 2]);
        assert_eq!((labels[[0, 0, 0]], labels[[1, 0, 1]], labels[[1, 1, 4]]), (0, 0, 2));
        assert_eq!(labels[[1, 2, 0]], 3);
    }

    #[test]
    fn nothing_of_the_label_changes_nothing() {
        let mut labels = arr3(&[[[1_u8, 0, 1]]]);
        keep_largest(&mut labels, &[2]);
        assert_eq!(labels, arr3(&[[[1_u8, 0, 1]]]));
    }
}
