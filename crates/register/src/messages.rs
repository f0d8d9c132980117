//! The cheapest displacement of all nodes together: messages up the tree, choices down.
//!
//! A node's costs and what its children say are summed and kept in place of its own costs, in
//! whole numbers: no result depends on the order of threads, and nothing but the costs
//! themselves is stored. On the way down every node looks up what it prefers where its parent
//! has chosen, near enough to be worth it.

use rayon::prelude::*;

use crate::cost::{Search, UNIT};
use crate::parabola::{Bend, Transform, scaled};
use crate::tree::Tree;
use hepalert_voxels::image::vector::widest;

/// Depths with fewer nodes than this are not worth waking another thread for.
const LEAST_PARALLEL: usize = 8;

/// What a node has chosen.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// In labels from the middle.
    pub label: [f32; 3],
    /// Curvature of the node's own costs there, along every axis; 0 where it does not care.
    pub certainty: [f32; 3],
}

/// Chooses a displacement for every place of the tree's order, in labels from the middle of the
/// search and refined between them, `[z, y, x]`. `costs` are in the tree's order and are spent;
/// `before` says where each place has been moved already, in labels too: neighbours are to
/// differ little in all.
pub fn choose(tree: &Tree, search: Search, costs: &mut [u16], before: &[[f32; 3]]) -> Vec<Choice> {
    let labels = search.labels();
    let bends = |child: usize, parent: usize| {
        [0, 1, 2].map(|axis| Bend::new(search.side(), before[child][axis] - before[parent][axis]))
    };
    for depth in tree.depths.iter().rev() {
        let (above, below) = costs.split_at_mut(depth.end * labels);
        let above = &mut above[depth.start * labels..];
        let gather = |transform: &mut Transform, (i, costs): (usize, &mut [u16])| {
            let place = depth.start + i;
            for child in tree.children[place].clone() {
                let child = child as usize;
                let heard = &below[(child - depth.end) * labels..][..labels];
                let bends = bends(child, place);
                let share = tree.share[child];
                widest(
                    #[inline(always)]
                    || transform.add_message(heard, share, &bends, costs),
                );
            }
            // From 0 on, so that shares and saturation act on differences.
            let floor = costs.iter().copied().min().unwrap_or(0);
            costs.iter_mut().for_each(|cost| *cost -= floor);
        };
        let new = || Transform::new(search.side());
        if depth.len() < LEAST_PARALLEL {
            let mut transform = new();
            above.chunks_exact_mut(labels).enumerate().for_each(|c| gather(&mut transform, c));
        } else {
            above.par_chunks_exact_mut(labels).enumerate().for_each_init(new, gather);
        }
    }
    let mut chosen: Vec<([i32; 3], Choice)> = Vec::with_capacity(tree.node.len());
    let root = (0..labels).min_by_key(|label| costs[*label]).unwrap_or(0);
    for depth in &tree.depths {
        let choice_at = |place: usize| {
            let costs = Opinion {
                search,
                costs: &costs[place * labels..][..labels],
                share: tree.share[place],
            };
            if place == 0 {
                let still = Bend::new(search.side(), 0.0);
                let label = search.offset(root);
                // The root follows nobody.
                return (label, costs.between(label, label, &[still; 3]));
            }
            let parent = tree.parent[place] as usize;
            costs.best(chosen[parent].0, &bends(place, parent))
        };
        let found: Vec<_> = if depth.len() < LEAST_PARALLEL {
            depth.clone().map(choice_at).collect()
        } else {
            depth.clone().into_par_iter().map(choice_at).collect()
        };
        chosen.extend(found);
    }
    chosen.into_iter().map(|(_, refined)| refined).collect()
}

/// What one node thinks of its labels.
struct Opinion<'a> {
    search: Search,
    costs: &'a [u16],
    share: u16,
}

impl Opinion<'_> {
    fn cost(&self, label: [i32; 3], parent: [i32; 3], bends: &[Bend; 3]) -> u32 {
        let side = self.search.side() as i32;
        let at = label.map(|l| l + self.search.radius as i32);
        let index = (at[0] * side + at[1]) * side + at[2];
        let bend: u32 = (0..3)
            .map(|axis| u32::from(bends[axis].at((label[axis] - parent[axis]) as isize)))
            .sum();
        u32::from(scaled(self.costs[index as usize], self.share)) + bend
    }

    /// The cheapest label where the parent has `parent`; the first of equals.
    fn best(&self, parent: [i32; 3], bends: &[Bend; 3]) -> ([i32; 3], Choice) {
        let reach = self.search.radius as i32;
        // Staying costs this much; costs begin at 0, so bends alone must not exceed it.
        let stay = self.cost(parent, parent, bends);
        let ranges = [0, 1, 2].map(|axis| {
            let worth = bends[axis].worth(u16::try_from(stay).unwrap_or(u16::MAX));
            let from = (parent[axis] + *worth.start() as i32).max(-reach);
            from..=(parent[axis] + *worth.end() as i32).min(reach)
        });
        let mut best = (stay, parent);
        for z in ranges[0].clone() {
            for y in ranges[1].clone() {
                for x in ranges[2].clone() {
                    let cost = self.cost([z, y, x], parent, bends);
                    if cost < best.0 {
                        best = (cost, [z, y, x]);
                    }
                }
            }
        }
        (best.1, self.between(best.1, parent, bends))
    }

    /// Where a parabola through the label's cost and those of its neighbours has its lowest
    /// point, along every axis by itself.
    fn between(&self, label: [i32; 3], parent: [i32; 3], bends: &[Bend; 3]) -> Choice {
        let reach = self.search.radius as i32;
        let mut refined = label.map(|l| l as f32);
        let mut certainty = [0.0; 3];
        for axis in 0..3 {
            if label[axis].abs() == reach {
                continue;
            }
            let near = |side: i32| {
                let mut other = label;
                other[axis] += side;
                self.cost(other, parent, bends) as f32
            };
            let (low, here, high) = (near(-1), near(0), near(1));
            let curve = low - 2.0 * here + high;
            if curve > 0.0 {
                refined[axis] += (0.5 * (low - high) / curve).clamp(-0.5, 0.5);
                certainty[axis] = (0.5 * curve / UNIT - 1.0).max(0.0);
            }
        }
        Choice { label: refined, certainty }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::Lattice;
    use crate::tree::spanning_tree;
    use ndarray::Array3;

    /// All labellings of a small tree, tried one by one.
    #[test]
    fn choices_are_the_cheapest_of_all_labellings() {
        let search = Search { radius: 1, quant: 1 };
        let labels = search.labels();
        let image = Array3::from_shape_fn((2, 2, 6), |(z, y, x)| (50 * z + 9 * y * x + x) as f32);
        let tree = spanning_tree(image.view(), &Lattice::new([2, 2, 6], 2));
        assert_eq!(tree.node.len(), 3);
        let mut state = 7_u32;
        for _ in 0..5 {
            let mut costs: Vec<u16> = (0..3 * labels)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 20) as u16 % 900
                })
                .collect();
            let own = costs.clone();
            let before = [[0.0; 3], [0.4, -0.3, 0.0], [0.0, 0.8, 0.1]];
            let found = choose(&tree, search, &mut costs, &before);
            let total = |labelling: [usize; 3]| -> u64 {
                let place = |p: usize| {
                    // A place's costs count for the root as often as its shares multiply.
                    let mut cost = u64::from(own[p * labels + labelling[p]]) << 16;
                    let mut at = p;
                    while at > 0 {
                        cost = (cost >> 16) * u64::from(tree.share[at]);
                        at = tree.parent[at] as usize;
                    }
                    cost
                };
                (0..3).map(place).sum()
            };
            // With shares near 1 and little rounding the sum of costs and bends is least.
            let bent = |labelling: [usize; 3]| -> f64 {
                let edges = (1..3).map(|p| {
                    let parent = tree.parent[p] as usize;
                    let (a, b) = (search.offset(labelling[p]), search.offset(labelling[parent]));
                    (0..3)
                        .map(|c| {
                            let apart = (a[c] - b[c]) as f32 + before[p][c] - before[parent][c];
                            f64::from(apart * apart * UNIT)
                        })
                        .sum::<f64>()
                });
                total(labelling) as f64 / 65_536.0 + edges.sum::<f64>()
            };
            let label_of = |choice: &Choice| {
                let near = choice.label.map(|l| (l.round() as i32).clamp(-1, 1));
                (0..labels).find(|l| search.offset(*l) == near).unwrap()
            };
            let chosen = [0, 1, 2].map(|p| label_of(&found[p]));
            let least = (0..labels.pow(3))
                .map(|i| bent([i / labels / labels, i / labels % labels, i % labels]))
                .fold(f64::INFINITY, f64::min);
            let all_shares_high = tree.share.iter().all(|s| *s > 20_000);
            assert!(all_shares_high && bent(chosen) <= least + 40.0, "{} {least}", bent(chosen));
        }
    }
}
