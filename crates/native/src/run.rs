//! Runs a plan: operation after operation, each on all threads.

use crate::element::{Chunk, Element, LANES};
use crate::level::at_level;
use crate::norm::{Moments, Norm, join_moments};
use crate::output::Answer;
use crate::plan::{Do, MAX_PARTS, Operation, Part, Place, Plan};
use crate::stages::{Crew, Worker};
use crate::volume::{Blocks, Source, bands};
use crate::workers::spread;

/// Memory of one patch at a time.
#[derive(Debug)]
pub(crate) struct Memory<T> {
    slots: Vec<Vec<[T; LANES]>>,
    norms: Vec<Norm>,
    moments: Vec<Moments>,
    shared: [Vec<Chunk>; 2],
    workers: Vec<Worker>,
}

impl<T: Element> Plan<T> {
    /// Memory for a patch on so many threads.
    pub(crate) fn memory(&self, threads: usize) -> Memory<T> {
        let mut own = Answer::room(self.last.shape.channels, self.last.shape.size[2]);
        let mut pairs = 0;
        let mut shared = [0; 2];
        let mut moments = 0;
        for operation in &self.operations {
            match &operation.work {
                Do::Direct(direct) => own = own.max(direct.room()),
                Do::Half(direct) => pairs = pairs.max(direct.room()),
                Do::Winograd(winograd, stages) => {
                    let room = stages.room(winograd);
                    own = own.max(room.own);
                    shared = [0, 1].map(|at| shared[at].max(room.shared[at]));
                }
                Do::Pointwise(_) => {}
            }
            moments = moments.max(operation.moments(self.stored[operation.out].shape));
        }
        let worker =
            || Worker { chunks: vec![[0.0; LANES]; own], pairs: vec![Default::default(); pairs] };
        Memory {
            slots: self.slots.iter().map(|&chunks| vec![[T::default(); LANES]; chunks]).collect(),
            norms: self.norms.iter().map(|&(_, blocks)| Norm::new(blocks)).collect(),
            moments: vec![Moments::default(); moments],
            shared: shared.map(|chunks| vec![[0.0; LANES]; chunks]),
            workers: (0..threads).map(|_| worker()).collect(),
        }
    }

    /// One patch, `[channel, z, y, x]` in and out.
    pub(crate) fn run(&self, image: &[f32], answer: &mut [f32], memory: &mut Memory<T>) {
        for operation in &self.operations {
            self.operate(operation, image, memory);
        }
        let Memory { slots, norms, workers, .. } = memory;
        let source = self.source(&self.last, image, slots, norms);
        self.answer.write(self.level, &source, answer, workers);
    }

    fn operate(&self, operation: &Operation, image: &[f32], memory: &mut Memory<T>) {
        let stored = self.stored[operation.out];
        let mut room = std::mem::take(&mut memory.slots[stored.slot]);
        let Memory { slots, norms, moments, shared, workers } = memory;
        let moments = &mut moments[..operation.moments(stored.shape)];
        moments.fill(Moments::default());
        let chunks = crate::plan::room(stored.shape);
        let sources: [Source<'_, T>; MAX_PARTS] = std::array::from_fn(|at| {
            let part = operation.parts.get(at).or(operation.parts.first());
            part.map_or(Source::NOTHING, |part| self.source(part, image, slots, norms))
        });
        let sources = &sources[..operation.parts.len()];
        let out = &mut room[..chunks];
        let mut crew = Crew { level: self.level, workers, shared };
        self.compute(operation, sources, out, moments, &mut crew);
        if let Some(norm) = operation.norm {
            join_moments(&self.norms[norm].0, moments, &mut norms[norm]);
        }
        memory.slots[stored.slot] = room;
    }

    fn compute(
        &self,
        operation: &Operation,
        sources: &[Source<'_, T>],
        out: &mut [[T; LANES]],
        moments: &mut [Moments],
        crew: &mut Crew<'_>,
    ) {
        let shape = self.stored[operation.out].shape;
        let (blocks, rows) = (crate::volume::blocks(shape.channels), operation.rows(shape));
        let level = self.level;
        match &operation.work {
            Do::Winograd(winograd, stages) => {
                stages.run(winograd, sources, out, moments, crew);
            }
            Do::Direct(direct) => {
                let tasks = bands(out, moments, shape.size, blocks, rows);
                spread(crew.workers, tasks, |worker, band| {
                    at_level!(level, simd => direct.band(simd, sources, band, &mut worker.chunks));
                });
            }
            Do::Half(direct) => {
                let tasks = bands(out, moments, shape.size, blocks, rows);
                spread(crew.workers, tasks, |worker, band| {
                    level.run_half(direct, sources, band, &mut worker.pairs);
                });
            }
            Do::Pointwise(pointwise) => {
                let tasks = bands(out, moments, shape.size, blocks, rows);
                spread(crew.workers, tasks, |_, band| {
                    let (channels, width) = (shape.channels, shape.size[2]);
                    at_level!(level, simd => {
                        pointwise.band(simd, sources, channels, width, band);
                    });
                });
            }
        }
    }

    fn source<'a>(
        &'a self,
        part: &Part,
        image: &'a [f32],
        slots: &'a [Vec<[T; LANES]>],
        norms: &'a [Norm],
    ) -> Source<'a, T> {
        let (channels, size) = (part.shape.channels, part.shape.size);
        let chunks = match part.place {
            Place::Image => return Source::Image { values: image, channels, size },
            Place::Constant(constant) => &self.constants[constant].1[..],
            Place::Stored(stored) => &slots[self.stored[stored].slot][..],
        };
        let norm = part.norm.map(|norm| &norms[norm]);
        Source::Blocks(Blocks { chunks, channels, size, norm, slope: part.slope })
    }
}
