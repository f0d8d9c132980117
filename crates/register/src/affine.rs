//! Affine and rigid maps, and how they are found from pairs of points of which many are wrong.
//!
//! Least trimmed squares: a map is fitted to all pairs, then again and again to the half that
//! it fits best. Refuses to answer where it cannot: too few pairs, pairs in one plane, or a
//! map that no patient moves by.

use hepalert_voxels::volume::Grid;

/// A map of voxels to voxels: `to = linear * from + shift`, `[z, y, x]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// The linear part, one row per component of the result.
    pub linear: [[f64; 3]; 3],
    /// The translation.
    pub shift: [f64; 3],
}

/// What the map may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freedom {
    /// Turn and move.
    Rigid,
    /// Scale and shear too.
    Affine,
}

/// Where a point of one image lies in the other.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// In the fixed image.
    pub from: [f64; 3],
    /// In the moving image.
    pub to: [f64; 3],
}

/// Fewer pairs than this say nothing: an affine map has twelve numbers.
const LEAST_PAIRS: usize = 24;
/// Fits of least trimmed squares.
const ROUNDS: usize = 15;
/// Volume may change by at most this factor between two phases of one patient.
const MAX_SCALE: f64 = 1.5;

/// The grid with its millimetres in single precision: NIfTI holds no more of what DICOM writes in
/// decimals, and the same scan must move the same way whichever it came in.
pub(crate) fn in_single_precision(grid: &Grid) -> Grid {
    let single = |mm: f64| f64::from(mm as f32);
    Grid::new(grid.shape(), grid.spacing_mm().map(single), grid.affine().map(|row| row.map(single)))
}

impl Affine {
    /// Everything stays.
    pub const IDENTITY: Affine =
        Affine { linear: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], shift: [0.0; 3] };

    /// A grid's own: from `[z, y, x]` of a voxel to its `[x, y, z]` in mm RAS, to the digits that
    /// every format holds.
    pub fn of(grid: &Grid) -> Affine {
        let grid = in_single_precision(grid);
        let linear = grid.affine().map(|[x, y, z, _]| [z, y, x]);
        Affine { linear, shift: grid.affine().map(|row| row[3]) }
    }

    /// Where `p` goes.
    pub fn map(&self, p: [f64; 3]) -> [f64; 3] {
        let row = |r: usize| (0..3).map(|c| self.linear[r][c] * p[c]).sum::<f64>() + self.shift[r];
        [row(0), row(1), row(2)]
    }

    /// First `self`, then `next`.
    pub fn then(&self, next: &Affine) -> Affine {
        let entry =
            |r: usize, c: usize| (0..3).map(|k| next.linear[r][k] * self.linear[k][c]).sum::<f64>();
        let linear = [0, 1, 2].map(|r| [entry(r, 0), entry(r, 1), entry(r, 2)]);
        Affine { linear, shift: next.map(self.shift) }
    }

    /// The determinant of the linear part.
    pub fn determinant(&self) -> f64 {
        let [a, b, c] = self.linear;
        a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
            + a[2] * (b[0] * c[1] - b[1] * c[0])
    }

    /// The map back; `None` if there is none.
    pub fn inverse(&self) -> Option<Affine> {
        let mut linear = [[0.0; 3]; 3];
        for column in 0..3 {
            let mut unit = [0.0; 3];
            unit[column] = 1.0;
            let solved = solve3(self.linear, unit)?;
            (0..3).for_each(|row| linear[row][column] = solved[row]);
        }
        let turned = Affine { linear, shift: [0.0; 3] };
        Some(Affine { linear, shift: turned.map(self.shift).map(|v| -v) })
    }

    /// Whether a patient between two phases could move like this.
    pub fn is_plausible(&self) -> bool {
        let finite = self.linear.iter().flatten().chain(&self.shift).all(|v| v.is_finite());
        finite && (1.0 / MAX_SCALE..=MAX_SCALE).contains(&self.determinant())
    }
}

/// The map that fits the better half of the pairs; `None` if they determine none or one that is
/// not plausible.
pub fn fit(pairs: &[Pair], freedom: Freedom) -> Option<Affine> {
    let mut kept: Vec<Pair> = pairs.to_vec();
    let mut found = None;
    for _ in 0..=ROUNDS {
        if kept.len() < LEAST_PAIRS {
            return None;
        }
        let map = match freedom {
            Freedom::Affine => least_squares(&kept)?,
            Freedom::Rigid => rigid(&kept)?,
        };
        let residual = |pair: &Pair| {
            let to = map.map(pair.from);
            (0..3).map(|c| (to[c] - pair.to[c]).powi(2)).sum::<f64>()
        };
        let mut residuals: Vec<f64> = pairs.iter().map(residual).collect();
        residuals.sort_by(f64::total_cmp);
        let median = residuals[residuals.len() / 2];
        kept = pairs.iter().copied().filter(|pair| residual(pair) <= median).collect();
        found = Some(map);
    }
    found.filter(Affine::is_plausible)
}

fn centre(points: impl Iterator<Item = [f64; 3]>) -> [f64; 3] {
    let (sum, n) =
        points.fold(([0.0; 3], 0.0), |(sum, n), p| ([0, 1, 2].map(|c| sum[c] + p[c]), n + 1.0));
    sum.map(|s| s / n)
}

fn least_squares(pairs: &[Pair]) -> Option<Affine> {
    let (a, b) = (centre(pairs.iter().map(|p| p.from)), centre(pairs.iter().map(|p| p.to)));
    let (mut normal, mut right) = ([[0.0; 3]; 3], [[0.0; 3]; 3]);
    for pair in pairs {
        for i in 0..3 {
            let from = pair.from[i] - a[i];
            for j in 0..3 {
                normal[i][j] += from * (pair.from[j] - a[j]);
                right[j][i] += from * (pair.to[j] - b[j]);
            }
        }
    }
    let linear = [solve3(normal, right[0])?, solve3(normal, right[1])?, solve3(normal, right[2])?];
    Some(about(linear, a, b))
}

/// The map with this linear part that takes `a` to `b`.
fn about(linear: [[f64; 3]; 3], a: [f64; 3], b: [f64; 3]) -> Affine {
    let turned = Affine { linear, shift: [0.0; 3] }.map(a);
    Affine { linear, shift: [0, 1, 2].map(|c| b[c] - turned[c]) }
}

/// Gaussian elimination with pivots; `None` where the matrix has (nearly) lower rank.
fn solve3(mut m: [[f64; 3]; 3], mut b: [f64; 3]) -> Option<[f64; 3]> {
    let size = m.iter().flatten().fold(0.0_f64, |a, v| a.max(v.abs()));
    for column in 0..3 {
        let pivot =
            (column..3).max_by(|a, b| m[*a][column].abs().total_cmp(&m[*b][column].abs()))?;
        if m[pivot][column].abs() <= 1e-9 * size || !m[pivot][column].is_finite() {
            return None;
        }
        m.swap(column, pivot);
        b.swap(column, pivot);
        for row in column + 1..3 {
            let factor = m[row][column] / m[column][column];
            (column..3).for_each(|c| m[row][c] -= factor * m[column][c]);
            b[row] -= factor * b[column];
        }
    }
    let mut x = [0.0; 3];
    for row in (0..3).rev() {
        let known: f64 = (row + 1..3).map(|c| m[row][c] * x[c]).sum();
        x[row] = (b[row] - known) / m[row][row];
    }
    Some(x)
}

/// Horn's closed form: the rotation is the quaternion that belongs to the largest eigenvalue.
fn rigid(pairs: &[Pair]) -> Option<Affine> {
    let (a, b) = (centre(pairs.iter().map(|p| p.from)), centre(pairs.iter().map(|p| p.to)));
    let mut s = [[0.0; 3]; 3];
    for pair in pairs {
        for i in 0..3 {
            for j in 0..3 {
                s[i][j] += (pair.from[i] - a[i]) * (pair.to[j] - b[j]);
            }
        }
    }
    let [x, y, z] = s;
    let matrix = [
        [x[0] + y[1] + z[2], y[2] - z[1], z[0] - x[2], x[1] - y[0]],
        [y[2] - z[1], x[0] - y[1] - z[2], x[1] + y[0], z[0] + x[2]],
        [z[0] - x[2], x[1] + y[0], y[1] - x[0] - z[2], y[2] + z[1]],
        [x[1] - y[0], z[0] + x[2], y[2] + z[1], z[2] - x[0] - y[1]],
    ];
    let [w, i, j, k] = largest_eigenvector(matrix)?;
    let linear = [
        [w * w + i * i - j * j - k * k, 2.0 * (i * j - w * k), 2.0 * (i * k + w * j)],
        [2.0 * (i * j + w * k), w * w - i * i + j * j - k * k, 2.0 * (j * k - w * i)],
        [2.0 * (i * k - w * j), 2.0 * (j * k + w * i), w * w - i * i - j * j + k * k],
    ];
    Some(about(linear, a, b))
}

/// Jacobi rotations of a symmetric matrix.
fn largest_eigenvector(mut m: [[f64; 4]; 4]) -> Option<[f64; 4]> {
    let mut vectors = [[0.0; 4]; 4];
    (0..4).for_each(|i| vectors[i][i] = 1.0);
    for _ in 0..50 {
        for p in 0..4 {
            for q in p + 1..4 {
                if m[p][q] == 0.0 {
                    continue;
                }
                let theta = (m[q][q] - m[p][p]) / (2.0 * m[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                let turn = |a: f64, b: f64| (c * a - s * b, s * a + c * b);
                for row in &mut m {
                    (row[p], row[q]) = turn(row[p], row[q]);
                }
                for k in 0..4 {
                    (m[p][k], m[q][k]) = turn(m[p][k], m[q][k]);
                    (vectors[k][p], vectors[k][q]) = turn(vectors[k][p], vectors[k][q]);
                }
            }
        }
    }
    let best = (0..4).max_by(|a, b| m[*a][*a].total_cmp(&m[*b][*b]))?;
    let vector = [0, 1, 2, 3].map(|k| vectors[k][best]);
    vector.iter().all(|v| v.is_finite()).then_some(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(map: impl Fn([f64; 3]) -> [f64; 3]) -> Vec<Pair> {
        let place = |i: usize| [(i * 7 % 31) as f64, (i * 13 % 29) as f64, (i * 5 % 23) as f64];
        (0..90).map(place).map(|from| Pair { from, to: map(from) }).collect()
    }

    fn turned() -> Affine {
        let (s, c) = (0.1_f64.sin(), 0.1_f64.cos());
        Affine { linear: [[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]], shift: [4.0, -2.5, 1.0] }
    }

    fn close(a: &Affine, b: &Affine) -> bool {
        let pairs = a.linear.iter().flatten().zip(b.linear.iter().flatten());
        pairs.chain(a.shift.iter().zip(&b.shift)).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    #[test]
    fn a_third_of_wrong_pairs_does_not_matter() {
        for freedom in [Freedom::Rigid, Freedom::Affine] {
            let mut pairs = cloud(|p| turned().map(p));
            for (i, pair) in pairs.iter_mut().enumerate().filter(|(i, _)| i % 3 == 0) {
                pair.to = [pair.to[0] + 20.0 + i as f64, pair.to[1] - 30.0, pair.to[2] + 11.0];
            }
            let found = fit(&pairs, freedom).unwrap();
            assert!(close(&found, &turned()), "{freedom:?} {found:?}");
        }
    }

    #[test]
    fn what_determines_no_map_gives_none() {
        assert!(fit(&[], Freedom::Affine).is_none());
        assert!(fit(&cloud(|p| p)[..LEAST_PAIRS - 1], Freedom::Rigid).is_none());
        let plane: Vec<Pair> = cloud(|p| p)
            .iter()
            .map(|p| Pair { from: [1.0, p.from[1], p.from[2]], to: p.to })
            .collect();
        assert!(fit(&plane, Freedom::Affine).is_none());
        assert!(fit(&cloud(|p| p.map(|_| f64::NAN)), Freedom::Affine).is_none());
        assert!(
            fit(&cloud(|p| p.map(|v| 3.0 * v)), Freedom::Affine).is_none(),
            "27 times the volume"
        );
    }

    #[test]
    fn there_and_back() {
        let map = turned();
        let back = map.then(&map.inverse().unwrap());
        assert!(close(&back, &Affine::IDENTITY));
    }
}
