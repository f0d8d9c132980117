//! One thin sheet of the patient being painted: later strokes cover earlier ones.

use super::draw::Draw;
use super::field::Field;
use super::motion::Motion;
use super::shape::{Bounds, Point, along};

/// The fields deform every soft organ by this much (deviation).
const WARP_MM: f32 = 3.2;
/// The fields move no point further than this.
const REACH_MM: f32 = 3.2 * WARP_MM;

/// Columns and rows of a slice in millimetres.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// Patient left of every column.
    pub xs: Vec<f32>,
    /// Patient back of every row.
    pub ys: Vec<f32>,
}

/// The random fields of one patient.
#[derive(Debug)]
pub(super) struct Fields {
    warp: [Field; 3],
    coarse: Field,
    fine: Field,
}

impl Fields {
    /// Fields over the given space.
    pub(super) fn draw(draw: &mut Draw, bounds: Bounds) -> Fields {
        Fields {
            warp: [0, 1, 2].map(|_| Field::new(draw, bounds, [52.0, 52.0, 60.0])),
            coarse: Field::new(draw, bounds, [13.0, 13.0, 15.0]),
            fine: Field::new(draw, bounds, [4.5, 4.5, 5.5]),
        }
    }
}

/// Where a brush stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    /// In the rigid patient: bones and the body wall.
    pub still: Point,
    /// In the deformed patient: soft organs.
    pub p: Point,
    /// Texture of about a centimetre, deviation 1.
    pub coarse: f32,
    /// Texture of a few millimetres, deviation 1.
    pub fine: f32,
    /// Millimetres beyond the abdominal and chest cavity's wall, negative inside.
    pub beyond: f32,
    /// Millimetres above the diaphragm, negative below.
    pub above: f32,
}

impl Spot {
    /// Millimetres outside the abdomen, negative inside.
    pub(super) fn outside_abdomen(&self) -> f32 {
        self.beyond.max(self.above)
    }
}

/// What a brush changes.
#[derive(Debug)]
pub(super) struct Ink<'a> {
    /// Hounsfield units.
    pub hu: &'a mut f32,
    /// Label value as in `anatomy`.
    pub label: &'a mut u8,
    /// Number of the lesion, 0 for none.
    pub lesion: &'a mut u8,
}

impl Ink<'_> {
    /// Covers what was there.
    pub(super) fn cover(&mut self, hu: f32, label: u8) {
        *self.hu = hu;
        *self.label = label;
    }
}

/// A sheet, `[row, column]` in C order.
#[derive(Debug)]
pub(super) struct Canvas<'a> {
    frame: &'a Frame,
    z: f32,
    /// Strokes look this far around a shape.
    reach: f32,
    warp: [Vec<f32>; 3],
    coarse: Vec<f32>,
    fine: Vec<f32>,
    /// See [`Spot::beyond`].
    pub beyond: Vec<f32>,
    /// See [`Spot::above`].
    pub above: Vec<f32>,
    /// Hounsfield units.
    pub hu: Vec<f32>,
    /// Label values.
    pub label: Vec<u8>,
    /// Lesion numbers.
    pub lesion: Vec<u8>,
}

impl<'a> Canvas<'a> {
    /// An empty sheet of air at height `z`, in the reference phase or one that moved.
    pub(super) fn at(
        frame: &'a Frame,
        fields: &Fields,
        motion: Option<&Motion>,
        z: f32,
    ) -> Canvas<'a> {
        let n = frame.xs.len() * frame.ys.len();
        let moved = motion.map(|motion| -> Vec<Point> {
            let rows = frame.ys.iter().flat_map(|y| frame.xs.iter().map(|x| [*x, *y, z]));
            rows.map(|p| motion.along(p)).collect()
        });
        let sheet = |field: &Field, scale: f32| {
            let mut out = vec![0.0; n];
            match &moved {
                None => field.sheet(z, &frame.ys, &frame.xs, &mut out),
                Some(moved) => out.iter_mut().zip(moved).for_each(|(v, p)| *v = field.at(*p)),
            }
            out.iter_mut().for_each(|v| *v = (*v * scale).clamp(-REACH_MM, REACH_MM));
            out
        };
        let mut warp = [0, 1, 2].map(|axis| sheet(&fields.warp[axis], WARP_MM));
        if let Some(moved) = &moved {
            for (at, p) in moved.iter().enumerate() {
                let [x, y] = [frame.xs[at % frame.xs.len()], frame.ys[at / frame.xs.len()]];
                for (axis, still) in [x, y, z].into_iter().enumerate() {
                    warp[axis][at] += p[axis] - still;
                }
            }
        }
        Canvas {
            frame,
            z,
            reach: REACH_MM + motion.map_or(0.0, Motion::reach_mm),
            warp,
            coarse: sheet(&fields.coarse, 1.0),
            fine: sheet(&fields.fine, 1.0),
            beyond: vec![f32::MAX; n],
            above: vec![f32::MIN; n],
            hu: vec![-1000.0; n],
            label: vec![0; n],
            lesion: vec![0; n],
        }
    }

    /// Height in millimetres.
    pub(super) fn z(&self) -> f32 {
        self.z
    }

    /// Every pixel of the sheet, to fill the body and its cavities.
    pub(super) fn fill(&mut self, brush: impl FnMut(&Spot, &mut Ink)) {
        let everywhere = Bounds { lo: [f32::MIN; 3], hi: [f32::MAX; 3] };
        self.stroke(everywhere, brush);
    }

    /// Every pixel that the fields may have moved into `bounds`.
    pub(super) fn paint(&mut self, bounds: Bounds, brush: impl FnMut(&Spot, &mut Ink)) {
        self.stroke(bounds.grown(self.reach), brush);
    }

    fn stroke(&mut self, bounds: Bounds, mut brush: impl FnMut(&Spot, &mut Ink)) {
        let Bounds { lo, hi } = bounds;
        if self.z < lo[2] || self.z > hi[2] {
            return;
        }
        let frame = self.frame;
        let range = |at: &[f32], lo: f32, hi: f32| {
            at.partition_point(|v| *v < lo)..at.partition_point(|v| *v <= hi)
        };
        let columns = range(&frame.xs, lo[0], hi[0]);
        for row in range(&frame.ys, lo[1], hi[1]) {
            for column in columns.clone() {
                let at = row * frame.xs.len() + column;
                let spot = self.spot(at, [frame.xs[column], frame.ys[row], self.z]);
                let ink = (&mut self.hu[at], &mut self.label[at], &mut self.lesion[at]);
                brush(&spot, &mut Ink { hu: ink.0, label: ink.1, lesion: ink.2 });
            }
        }
    }

    fn spot(&self, at: usize, still: Point) -> Spot {
        let moved = [self.warp[0][at], self.warp[1][at], self.warp[2][at]];
        Spot {
            still,
            p: along(still, 1.0, moved),
            coarse: self.coarse[at],
            fine: self.fine[at],
            beyond: self.beyond[at],
            above: self.above[at],
        }
    }

    /// Stores, for every pixel, where it lies relative to the cavity wall and the diaphragm.
    pub(super) fn survey(&mut self, mut place: impl FnMut(Point, Point) -> (f32, f32)) {
        for at in 0..self.hu.len() {
            let (row, column) = (at / self.frame.xs.len(), at % self.frame.xs.len());
            let still = [self.frame.xs[column], self.frame.ys[row], self.z];
            let moved = [self.warp[0][at], self.warp[1][at], self.warp[2][at]];
            let (beyond, above) = place(still, along(still, 1.0, moved));
            (self.beyond[at], self.above[at]) = (beyond, above);
        }
    }
}
