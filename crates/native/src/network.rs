//! The crate's door: a network that is loaded once and run patch by patch.

use std::fmt;

use crate::error::LoadError;
use crate::graph::Graph;
use crate::level::Level;
use crate::plan::Plan;
use crate::run::Memory;
use crate::workers::spread;

/// The numbers that are kept between operations and multiplied; sums are `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 24 bits of mantissa.
    F32,
    /// 8 bits of mantissa, where the processor has instructions for it.
    Bf16,
}

/// How a network is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Threads that share a patch, at least 1; changes no bit.
    pub threads: usize,
    /// The numbers.
    pub precision: Precision,
    /// The instructions.
    pub level: Level,
}

impl Default for Options {
    /// One thread, `f32`, the widest instructions.
    fn default() -> Options {
        Options { threads: 1, precision: Precision::F32, level: Level::widest() }
    }
}

/// A network ready to run.
pub struct Network {
    plan: Plans,
    pool: rayon::ThreadPool,
}

enum Plans {
    F32(Plan<f32>),
    Bf16(Plan<u16>),
}

/// Memory for patches, made by [`Network::scratch`] and used again and again.
#[derive(Debug)]
pub struct Scratch(Memories);

#[derive(Debug)]
enum Memories {
    F32(Memory<f32>),
    Bf16(Memory<u16>),
}

impl Network {
    /// Reads an ONNX file.
    ///
    /// # Errors
    /// [`LoadError`] says in one sentence what cannot be run here.
    pub fn load(bytes: &[u8], options: &Options) -> Result<Network, LoadError> {
        if options.precision == Precision::Bf16 && !options.level.has_bf16() {
            let reason = "this processor has no instructions for bf16; use f32".to_owned();
            return Err(LoadError::Machine { reason });
        }
        let graph = Graph::read(bytes)?;
        let plan = match options.precision {
            Precision::F32 => Plans::F32(Plan::new(&graph, options.level)?),
            Precision::Bf16 => Plans::Bf16(Plan::new(&graph, options.level)?),
        };
        let threads = options.threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("native-{n}"))
            .build()
            .map_err(|error| LoadError::Machine {
                reason: format!("{threads} threads: {error}"),
            })?;
        Ok(Network { plan, pool })
    }

    /// `[channels, z, y, x]` of a patch.
    pub fn input_shape(&self) -> [usize; 4] {
        let shape = match &self.plan {
            Plans::F32(plan) => plan.image,
            Plans::Bf16(plan) => plan.image,
        };
        let [z, y, x] = shape.size;
        [shape.channels, z, y, x]
    }

    /// `[classes, z, y, x]` of its logits.
    pub fn output_shape(&self) -> [usize; 4] {
        let shape = match &self.plan {
            Plans::F32(plan) => plan.output,
            Plans::Bf16(plan) => plan.output,
        };
        let [z, y, x] = shape.size;
        [shape.channels, z, y, x]
    }

    /// Memory for one patch at a time, shared by all threads.
    pub fn scratch(&self) -> Scratch {
        self.scratch_of(self.pool.current_num_threads())
    }

    /// Memory for as many patches at a time as there are threads, `patches` at most: each has
    /// threads of its own, which wait for no other patch.
    pub fn scratches(&self, patches: usize) -> Vec<Scratch> {
        let threads = self.pool.current_num_threads();
        let count = threads.min(patches);
        // Rounded up: who has nothing to do helps another patch.
        (0..count).map(|_| self.scratch_of(threads.div_ceil(count))).collect()
    }

    fn scratch_of(&self, threads: usize) -> Scratch {
        Scratch(match &self.plan {
            Plans::F32(plan) => Memories::F32(plan.memory(threads)),
            Plans::Bf16(plan) => Memories::Bf16(plan.memory(threads)),
        })
    }

    /// Runs one patch. All of `output` is written.
    ///
    /// # Panics
    /// If `input` or `output` have another length than the shapes say, or `scratch` is another
    /// network's.
    pub fn run(&self, input: &[f32], output: &mut [f32], scratch: &mut Scratch) {
        let [patch, logits] = self.lengths();
        assert_eq!(input.len(), patch, "a patch as the shape says");
        assert_eq!(output.len(), logits, "logits as the shape says");
        self.pool.install(|| self.run_here(input, output, scratch));
    }

    /// Runs some patches, which lie one after the other in `inputs`, as many at a time as there are `scratches`:
    /// the same bits as [`Network::run`] gives for each. All of `outputs` is written.
    ///
    /// # Panics
    /// As [`Network::run`]; also if there are not as many patches as logits, or no memory.
    pub fn run_many(&self, inputs: &[f32], outputs: &mut [f32], scratches: &mut [Scratch]) {
        let [patch, logits] = self.lengths();
        assert_eq!(inputs.len() % patch, 0, "whole patches");
        assert_eq!(inputs.len() / patch * logits, outputs.len(), "logits for each patch");
        let tasks = inputs.chunks_exact(patch).zip(outputs.chunks_exact_mut(logits));
        self.pool.install(|| {
            spread(scratches, tasks, |scratch, (input, output)| {
                self.run_here(input, output, scratch);
            });
        });
    }

    /// Numbers of a patch and of its logits.
    fn lengths(&self) -> [usize; 2] {
        [self.input_shape(), self.output_shape()].map(|shape| shape.iter().product())
    }

    fn run_here(&self, input: &[f32], output: &mut [f32], scratch: &mut Scratch) {
        match (&self.plan, &mut scratch.0) {
            (Plans::F32(plan), Memories::F32(memory)) => plan.run(input, output, memory),
            (Plans::Bf16(plan), Memories::Bf16(memory)) => plan.run(input, output, memory),
            _ => unreachable!("scratch is made by the network that uses it"),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (input, output) = (self.input_shape(), self.output_shape());
        write!(out, "Network({input:?} -> {output:?})")
    }
}
