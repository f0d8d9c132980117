//! Implicit shapes: a distance below zero is inside. Knows nothing of organs.
//!
//! Points are `[x, y, z]` in millimetres: x to the patient's left, y to the back, z to the
//! head (the axes of DICOM), so that an axial slice is drawn as it is read.

use super::draw::Draw;

/// `[x, y, z]` in millimetres.
pub(super) type Point = [f32; 3];

/// A box in space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    /// Smallest corner.
    pub lo: Point,
    /// Largest corner.
    pub hi: Point,
}

impl Bounds {
    /// The box around a ball.
    pub(super) fn ball(centre: Point, radius: f32) -> Bounds {
        Bounds { lo: centre.map(|c| c - radius), hi: centre.map(|c| c + radius) }
    }

    /// The smallest box around both.
    pub(super) fn union(self, other: Bounds) -> Bounds {
        Bounds {
            lo: std::array::from_fn(|axis| self.lo[axis].min(other.lo[axis])),
            hi: std::array::from_fn(|axis| self.hi[axis].max(other.hi[axis])),
        }
    }

    /// Larger by `margin` on every side.
    pub(super) fn grown(self, margin: f32) -> Bounds {
        Bounds { lo: self.lo.map(|c| c - margin), hi: self.hi.map(|c| c + margin) }
    }

    /// A uniformly random point inside.
    pub(super) fn draw(&self, draw: &mut Draw) -> Point {
        std::array::from_fn(|axis| draw.uniform(self.lo[axis], self.hi[axis]))
    }
}

/// Anything with an inside.
pub(super) trait Solid {
    /// A box that holds the inside.
    fn bounds(&self) -> Bounds;
    /// About the distance to the surface in millimetres, negative inside.
    fn distance(&self, p: Point) -> f32;
}

/// `a - b`.
pub(super) fn minus(a: Point, b: Point) -> Point {
    std::array::from_fn(|axis| a[axis] - b[axis])
}

/// `a + t b`.
pub(super) fn along(a: Point, t: f32, b: Point) -> Point {
    std::array::from_fn(|axis| a[axis] + t * b[axis])
}

/// Scalar product.
pub(super) fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Euclidean length.
pub(super) fn length(a: Point) -> f32 {
    dot(a, a).sqrt()
}

/// The smaller of two distances, rounded where they are within `k` of each other: a union
/// without a crease.
pub(super) fn blend(a: f32, b: f32, k: f32) -> f32 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.min(b) - h * h * k * 0.25
}

/// `a` without `b`, the edge rounded over `k`.
pub(super) fn carve(a: f32, b: f32, k: f32) -> f32 {
    -blend(-a, b, k)
}

/// 0 at `lo`, 1 at `hi`, smooth between.
pub(super) fn ease(lo: f32, hi: f32, value: f32) -> f32 {
    let t = ((value - lo) / (hi - lo)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// An ellipsoid turned about z, then tilted about y.
#[derive(Debug, Clone)]
pub(super) struct Ellipsoid {
    /// Its centre, in mm.
    pub centre: Point,
    /// Half axes along its own x, y, z.
    pub radii: Point,
    /// Its own axes in space.
    axes: [Point; 3],
}

impl Ellipsoid {
    /// Half axes along x, y, z.
    pub(super) fn new(centre: Point, radii: Point) -> Ellipsoid {
        Ellipsoid::turned(centre, radii, 0.0, 0.0)
    }

    /// `turn` and `tilt` in radians: about z, and of the z axis towards the left.
    pub(super) fn turned(centre: Point, radii: Point, turn: f32, tilt: f32) -> Ellipsoid {
        let (s, c) = turn.sin_cos();
        let (st, ct) = tilt.sin_cos();
        let axes = [[c * ct, s * ct, -st], [-s, c, 0.0], [c * st, s * st, ct]];
        Ellipsoid { centre, radii, axes }
    }

    /// The offset from the centre in units of the half axes.
    pub(super) fn unit(&self, p: Point) -> Point {
        let offset = minus(p, self.centre);
        std::array::from_fn(|axis| dot(self.axes[axis], offset) / self.radii[axis])
    }
}

impl Solid for Ellipsoid {
    fn bounds(&self) -> Bounds {
        let half: Point = std::array::from_fn(|axis| {
            length(std::array::from_fn(|own| self.axes[own][axis] * self.radii[own]))
        });
        Bounds { lo: minus(self.centre, half), hi: along(self.centre, 1.0, half) }
    }

    fn distance(&self, p: Point) -> f32 {
        let u = self.unit(p);
        let slope: Point = std::array::from_fn(|axis| u[axis] / self.radii[axis]);
        let (value, slope) = (length(u), length(slope));
        if slope < 1e-6 {
            return -self.radii.into_iter().fold(f32::MAX, f32::min);
        }
        value * (value - 1.0) / slope
    }
}

/// A ball on the way of a tube.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bead {
    /// Its centre, in mm.
    pub at: Point,
    /// Its radius, in mm.
    pub radius: f32,
}

/// A piece of tube between two beads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    from: Bead,
    to: Bead,
}

impl Segment {
    /// From one bead to the next.
    pub(super) fn new(from: Bead, to: Bead) -> Segment {
        Segment { from, to }
    }

    /// Height of its higher end.
    pub(super) fn top(&self) -> f32 {
        self.from.at[2].max(self.to.at[2])
    }

    /// The larger of the two radii.
    pub(super) fn radius(&self) -> f32 {
        self.from.radius.max(self.to.radius)
    }
}

impl Solid for Segment {
    fn bounds(&self) -> Bounds {
        Bounds::ball(self.from.at, self.from.radius).union(Bounds::ball(self.to.at, self.to.radius))
    }

    fn distance(&self, p: Point) -> f32 {
        let (way, offset) = (minus(self.to.at, self.from.at), minus(p, self.from.at));
        let t = (dot(way, offset) / dot(way, way).max(1e-6)).clamp(0.0, 1.0);
        let off = minus(offset, way.map(|c| c * t));
        length(off) - self.from.radius - t * (self.to.radius - self.from.radius)
    }
}

/// Beads joined by segments whose joints are rounded.
#[derive(Debug, Clone)]
pub(super) struct Tube {
    segments: Vec<Segment>,
    rounding: f32,
}

impl Tube {
    /// Through the given beads, at least two; `rounding` in millimetres.
    pub(super) fn new(beads: &[Bead], rounding: f32) -> Tube {
        let segments = beads.windows(2).map(|pair| Segment::new(pair[0], pair[1])).collect();
        Tube { segments, rounding }
    }
}

impl Solid for Tube {
    fn bounds(&self) -> Bounds {
        let nothing = Bounds { lo: [f32::MAX; 3], hi: [f32::MIN; 3] };
        self.segments.iter().fold(nothing, |all, segment| all.union(segment.bounds()))
    }

    fn distance(&self, p: Point) -> f32 {
        let join = |all: f32, segment: &Segment| blend(all, segment.distance(p), self.rounding);
        self.segments.iter().fold(f32::MAX / 4.0, join)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ball_knows_its_distance() {
        let ball = Ellipsoid::turned([1.0, 2.0, 3.0], [5.0; 3], 0.4, -0.7);
        assert!((ball.distance([11.0, 2.0, 3.0]) - 5.0).abs() < 1e-4);
        assert!((ball.distance([1.0, 2.0, 6.0]) + 2.0).abs() < 1e-4);
        assert!((ball.distance([1.0, 2.0, 3.0]) + 5.0).abs() < 1e-4);
    }

    #[test]
    fn a_tube_tapers() {
        let bead = |x: f32, radius: f32| Bead { at: [x, 0.0, 0.0], radius };
        let tube = Tube::new(&[bead(0.0, 4.0), bead(10.0, 2.0)], 0.001);
        assert!((tube.distance([5.0, 3.0, 0.0])).abs() < 1e-4);
        assert!(tube.distance([-4.5, 0.0, 0.0]) > 0.0 && tube.distance([-3.5, 0.0, 0.0]) < 0.0);
        assert_eq!(tube.bounds().lo, [-4.0, -4.0, -4.0]);
    }

    #[test]
    fn carving_leaves_what_is_far_away() {
        assert_eq!(carve(-5.0, 50.0, 2.0), -5.0);
        assert_eq!(carve(-5.0, -3.0, 0.001), 3.0);
    }
}
