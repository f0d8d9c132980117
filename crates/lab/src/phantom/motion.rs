//! What moves between two phases of one patient: breath and bowel.
//!
//! Owns the true field: `along` says which point of the reference phase is seen at a point of
//! another one, `inverse` the way back. Soft organs and the diaphragm move; bones and the body
//! wall lie still. Refuses nothing; the reference phase does not move at all.

use super::draw::Draw;
use super::field::VectorField;
use super::shape::{Bounds, Point, along};

/// Deviation of what is left when the breath is taken out, in millimetres.
const BOWEL_MM: f32 = 1.8;
/// No point moves further than this from where the breath alone would take it.
const FURTHEST_MM: f32 = 3.0 * BOWEL_MM;

/// How soft organs of one phase lie against the reference phase.
#[derive(Debug)]
pub(super) struct Motion {
    breath_mm: Point,
    bowel: VectorField,
}

impl Motion {
    /// Another breath: mostly up or down, up to 15 mm, and a smooth deformation.
    pub(super) fn draw(draw: &mut Draw, bounds: Bounds) -> Motion {
        let depth = draw.uniform(2.0, 15.0) * if draw.chance(0.5) { -1.0 } else { 1.0 };
        let breath_mm = [draw.uniform(-1.5, 1.5), 0.25 * depth + draw.uniform(-1.5, 1.5), depth];
        Motion { breath_mm, bowel: VectorField::new(draw, bounds, [58.0, 58.0, 66.0]) }
    }

    /// The point of the reference phase that is seen at this point of the other phase.
    pub(super) fn along(&self, p: Point) -> Point {
        let bowel =
            self.bowel.at(p).map(|value| (BOWEL_MM * value).clamp(-FURTHEST_MM, FURTHEST_MM));
        along(along(p, 1.0, self.breath_mm), 1.0, bowel)
    }

    /// Where a point of the reference phase is seen in the other phase: by fixed point, within
    /// a hundredth of a millimetre.
    pub(super) fn inverse(&self, p: Point) -> Point {
        let mut seen = along(p, -1.0, self.breath_mm);
        for _ in 0..20 {
            let off = super::shape::minus(self.along(seen), p);
            seen = along(seen, -1.0, off);
            if off.iter().all(|mm| mm.abs() < 0.01) {
                break;
            }
        }
        seen
    }

    /// No point moves further than this along any axis.
    pub(super) fn reach_mm(&self) -> f32 {
        self.breath_mm.iter().fold(0.0, |most: f32, mm| most.max(mm.abs())) + FURTHEST_MM
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::Stream;
    use super::*;

    #[test]
    fn the_way_back_ends_where_it_began_and_nothing_folds() {
        for seed in 0..10 {
            let bounds = Bounds { lo: [-200.0; 3], hi: [200.0; 3] };
            let motion = Motion::draw(&mut Draw::new(seed, Stream::Motion { phase: 1 }), bounds);
            for step in 0..30 {
                let p = [step as f32 * 9.0 - 130.0, 60.0 - step as f32 * 4.0, step as f32 - 10.0];
                let back = motion.along(motion.inverse(p));
                assert!(back.iter().zip(p).all(|(a, b)| (a - b).abs() < 0.05), "{p:?} {back:?}");
                let moved = motion.along(p);
                assert!(moved.iter().zip(p).all(|(a, b)| (a - b).abs() <= motion.reach_mm()));
                let ahead = motion.along([p[0] + 1.0, p[1], p[2]]);
                assert!(ahead[0] > moved[0] + 0.3, "folded at {p:?}");
            }
        }
    }
}
