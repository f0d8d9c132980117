//! From a graph to operations in order: what is fused, what lies where.
//!
//! Normalisations and leaks are not operations: they stay pending on a value, and whoever reads
//! it applies them; the statistics are gathered by whoever writes it. Joined channels are a list
//! of values, copied only for a reader that cannot read a list. Memory is cut once: a value's
//! room is used again after its last reader.

use crate::direct::Direct;
use crate::element::{Element, LANES, bf16};
use crate::error::LoadError;
use crate::graph::{Filter, Fixed, Graph, Node, Shape, Value, Work};
use crate::half::Half;
use crate::level::Level;
use crate::micro::Single;
use crate::norm::Learnt;
use crate::output::{self, Answer, Head};
use crate::pointwise::Pointwise;
use crate::stages::Stages;
use crate::volume::{blocks, count_bands};
use crate::winograd::{self, Winograd};

/// Values that one operation reads at most; nnU-Net's read two.
pub(crate) const MAX_PARTS: usize = 64;
/// Chunks of all values together at most: 16 GiB of `f32`.
const MAX_CHUNKS: usize = 1 << 28;
/// Below so many channels the transforms cost what products save.
const LEAST_CHANNELS: usize = 16;

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Image,
    Constant(usize),
    /// Index into [`Plan::stored`].
    Stored(usize),
}

/// Some channels of a value, and what is still to be done to them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Part {
    pub(crate) place: Place,
    pub(crate) shape: Shape,
    pub(crate) norm: Option<usize>,
    pub(crate) slope: f32,
}

/// Room for a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) slot: usize,
    pub(crate) shape: Shape,
    /// The operation that writes it.
    writer: usize,
}

/// One pass over the data.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) work: Do,
    pub(crate) parts: Vec<Part>,
    /// Index into [`Plan::stored`].
    pub(crate) out: usize,
    /// The normalisation whose statistics it gathers.
    pub(crate) norm: Option<usize>,
}

/// What an operation does.
#[derive(Debug)]
pub(crate) enum Do {
    Direct(Direct<Single>),
    /// In bf16.
    Half(Direct<Half>),
    Winograd(Winograd, Stages),
    Pointwise(Pointwise),
}

/// Everything that is known before the first patch.
#[derive(Debug)]
pub(crate) struct Plan<T> {
    pub(crate) image: Shape,
    pub(crate) output: Shape,
    /// What the answer is made of, and how.
    pub(crate) last: Part,
    pub(crate) answer: Answer,
    pub(crate) operations: Vec<Operation>,
    pub(crate) stored: Vec<Stored>,
    /// Chunks of each slot.
    pub(crate) slots: Vec<usize>,
    pub(crate) norms: Vec<(Learnt, usize)>,
    pub(crate) constants: Vec<(Shape, Vec<[T; LANES]>)>,
    pub(crate) level: Level,
}

impl Operation {
    /// Rows of a band of its result.
    pub(crate) fn rows(&self, shape: Shape) -> usize {
        match &self.work {
            Do::Direct(direct) => direct.rows,
            Do::Half(direct) => direct.rows,
            Do::Winograd(_, stages) => stages.rows,
            Do::Pointwise(_) => shape.size[1],
        }
    }

    /// Moments that its bands write.
    pub(crate) fn moments(&self, shape: Shape) -> usize {
        match self.norm {
            Some(_) => count_bands(shape.size, self.rows(shape)) * blocks(shape.channels),
            None => 0,
        }
    }
}

impl<T: Element + FromF32> Plan<T> {
    pub(crate) fn new(graph: &Graph, level: Level) -> Result<Plan<T>, LoadError> {
        let mut planner =
            Planner { graph, level, plan: Plan::empty(graph, level), values: Vec::new() };
        for node in &graph.nodes {
            let value = planner.node(node)?;
            planner.values.push(value);
        }
        planner.answer();
        let mut plan = planner.plan;
        plan.share_room()?;
        Ok(plan)
    }

    fn empty(graph: &Graph, level: Level) -> Plan<T> {
        let image = Part { place: Place::Image, shape: graph.image, norm: None, slope: 1.0 };
        Plan {
            image: graph.image,
            output: graph.shape(graph.output),
            last: image,
            answer: Answer::Copy,
            operations: Vec::new(),
            stored: Vec::new(),
            slots: Vec::new(),
            norms: Vec::new(),
            constants: graph.constants.iter().map(|fixed| (fixed.shape, chunks(fixed))).collect(),
            level,
        }
    }

    /// Gives every value a slot that nobody reads any more.
    fn share_room(&mut self) -> Result<(), LoadError> {
        let mut last = vec![0; self.stored.len()];
        for (at, operation) in self.operations.iter().enumerate() {
            for part in &operation.parts {
                if let Place::Stored(stored) = part.place {
                    last[stored] = at;
                }
            }
        }
        if let Place::Stored(stored) = self.last.place {
            last[stored] = usize::MAX;
        }
        let mut free: Vec<usize> = Vec::new();
        for at in 0..self.operations.len() {
            let out = self.operations[at].out;
            let need = room(self.stored[out].shape);
            let slot = take_slot(&mut free, &mut self.slots, need);
            self.stored[out].slot = slot;
            for part in &self.operations[at].parts {
                if let Place::Stored(stored) = part.place
                    && last[stored] == at
                    && !free.contains(&self.stored[stored].slot)
                {
                    free.push(self.stored[stored].slot);
                }
            }
        }
        match self.slots.iter().sum::<usize>() {
            0..=MAX_CHUNKS => Ok(()),
            chunks => Err(LoadError::graph(format!("it needs room for {chunks} x 16 numbers"))),
        }
    }
}

/// The smallest free slot that is large enough, else the largest made larger, else a new one.
fn take_slot(free: &mut Vec<usize>, slots: &mut Vec<usize>, need: usize) -> usize {
    let fitting = free.iter().enumerate().filter(|(_, slot)| slots[**slot] >= need);
    let best = fitting.min_by_key(|(_, slot)| slots[**slot]).map(|(at, _)| at);
    let largest = free.iter().enumerate().max_by_key(|(_, slot)| slots[**slot]).map(|(at, _)| at);
    let Some(at) = best.or(largest) else {
        slots.push(need);
        return slots.len() - 1;
    };
    let slot = free.swap_remove(at);
    slots[slot] = slots[slot].max(need);
    slot
}

/// Chunks of a value.
pub(crate) fn room(shape: Shape) -> usize {
    shape.size.iter().product::<usize>() * blocks(shape.channels)
}

struct Planner<'a, T> {
    graph: &'a Graph,
    level: Level,
    plan: Plan<T>,
    /// What each node made.
    values: Vec<Vec<Part>>,
}

impl<T: Element + FromF32> Planner<'_, T> {
    fn value(&self, value: Value) -> Vec<Part> {
        let place = match value {
            Value::Image => Place::Image,
            Value::Constant(constant) => Place::Constant(constant),
            Value::Node(node) => return self.values[node].clone(),
        };
        vec![Part { place, shape: self.graph.shape(value), norm: None, slope: 1.0 }]
    }

    fn node(&mut self, node: &Node) -> Result<Vec<Part>, LoadError> {
        let inputs: Vec<Vec<Part>> = node.inputs.iter().map(|&value| self.value(value)).collect();
        let made = match &node.work {
            Work::Convolve(filter) => vec![self.filter(filter, false, inputs.concat(), node.shape)],
            Work::Spread(filter) => vec![self.filter(filter, true, inputs.concat(), node.shape)],
            Work::Normalise { scale, shift, epsilon } => {
                let learnt =
                    Learnt { scale: scale.clone(), shift: shift.clone(), epsilon: *epsilon };
                vec![self.normalise(learnt, inputs.concat())]
            }
            Work::Leak { slope } => {
                inputs.concat().into_iter().map(|part| self.leak(part, *slope)).collect()
            }
            Work::Join => inputs.concat(),
            Work::Slices(slices) => {
                vec![self.pointwise(Pointwise::Slices(slices.clone()), inputs, node.shape)]
            }
            Work::Combine(sum) => {
                vec![self.pointwise(Pointwise::Combine(*sum), inputs, node.shape)]
            }
            Work::CombineNumber(sum, number) => {
                vec![self.pointwise(Pointwise::CombineNumber(*sum, *number), inputs, node.shape)]
            }
            Work::NumberMinus(number) => {
                vec![self.pointwise(Pointwise::NumberMinus(*number), inputs, node.shape)]
            }
            Work::Floor => vec![self.pointwise(Pointwise::Floor, inputs, node.shape)],
            Work::Average { box_size } => {
                vec![self.pointwise(Pointwise::Average(*box_size), inputs, node.shape)]
            }
        };
        let most = self.plan.operations.iter().map(|made| made.parts.len()).max();
        if made.len().max(most.unwrap_or_default()) > MAX_PARTS {
            return Err(LoadError::node(
                &node.name,
                format!("it reads more than {MAX_PARTS} values"),
            ));
        }
        Ok(made)
    }

    /// The last convolution is computed on the way out, if nobody else reads it.
    fn answer(&mut self) {
        let last = self.value(self.graph.output);
        self.plan.last = self.single(last);
        let Value::Node(node) = self.graph.output else { return };
        let node = &self.graph.nodes[node];
        let read = self.graph.nodes.iter().any(|other| other.inputs.contains(&self.graph.output));
        if let Work::Convolve(filter) = &node.work
            && output::fits(filter)
            && !read
        {
            // It was planned last, in its turn, and is taken back.
            self.plan.operations.pop();
            self.plan.stored.pop();
            let parts = self.value(node.inputs[0]);
            self.plan.last = self.single(parts);
            self.plan.answer = Answer::Convolve(Head::new(filter, self.plan.last.shape.size[2]));
        }
    }

    fn emit(&mut self, work: Do, parts: Vec<Part>, shape: Shape) -> Part {
        let out = self.plan.stored.len();
        self.plan.stored.push(Stored { slot: 0, shape, writer: self.plan.operations.len() });
        self.plan.operations.push(Operation { work, parts, out, norm: None });
        Part { place: Place::Stored(out), shape, norm: None, slope: 1.0 }
    }

    fn pointwise(&mut self, work: Pointwise, inputs: Vec<Vec<Part>>, shape: Shape) -> Part {
        let parts = inputs.into_iter().map(|parts| self.single(parts)).collect();
        self.emit(Do::Pointwise(work), parts, shape)
    }

    /// One part for a list of them.
    fn single(&mut self, parts: Vec<Part>) -> Part {
        match parts[..] {
            [part] => part,
            _ => self.copy(parts),
        }
    }

    fn copy(&mut self, parts: Vec<Part>) -> Part {
        let channels = parts.iter().map(|part| part.shape.channels).sum();
        let size = parts.first().map_or([1; 3], |part| part.shape.size);
        self.emit(Do::Pointwise(Pointwise::Copy), parts, Shape { channels, size })
    }

    fn filter(
        &mut self,
        filter: &Filter,
        transposed: bool,
        parts: Vec<Part>,
        shape: Shape,
    ) -> Part {
        let channels: Vec<usize> = parts.iter().map(|part| part.shape.channels).collect();
        let from = parts.first().map_or([1; 3], |part| part.shape.size);
        let work = if worthwhile(filter, transposed, &parts) {
            let winograd = Winograd::new(filter, &channels, shape.size, self.level);
            let stages = Stages::new(&winograd);
            Do::Winograd(winograd, stages)
        } else {
            let (size, level) = (shape.size, self.level);
            // The patch itself is not rounded: what the first convolution loses no later one finds.
            let image = parts.iter().any(|part| part.place == Place::Image);
            if T::HALF && !image {
                Do::Half(Direct::new(filter, transposed, &channels, from, size, level))
            } else {
                Do::Direct(Direct::new(filter, transposed, &channels, from, size, level))
            }
        };
        self.emit(work, parts, shape)
    }

    /// The writer gathers the statistics, unless it does so for another already.
    fn normalise(&mut self, learnt: Learnt, parts: Vec<Part>) -> Part {
        let part = match parts[..] {
            [part] if self.untouched(&part) => part,
            _ => self.copy(parts),
        };
        let norm = self.plan.norms.len();
        self.plan.norms.push((learnt, blocks(part.shape.channels)));
        if let Place::Stored(stored) = part.place {
            let writer = self.plan.stored[stored].writer;
            self.plan.operations[writer].norm = Some(norm);
        }
        Part { norm: Some(norm), ..part }
    }

    /// Whether a part is just what its writer wrote, and that has no statistics to gather yet.
    fn untouched(&self, part: &Part) -> bool {
        let Place::Stored(stored) = part.place else { return false };
        let free = self.plan.operations[self.plan.stored[stored].writer].norm.is_none();
        free && part.norm.is_none() && part.slope == 1.0
    }

    fn leak(&mut self, part: Part, slope: f32) -> Part {
        let part = if part.slope == 1.0 && part.place != Place::Image {
            part
        } else {
            self.copy(vec![part])
        };
        Part { slope, ..part }
    }
}

/// Whether Winograd's filters are faster: with channels enough, of values that lie in blocks.
fn worthwhile(filter: &Filter, transposed: bool, parts: &[Part]) -> bool {
    winograd::fits(filter, transposed)
        && filter.outputs.min(filter.inputs) >= LEAST_CHANNELS
        && parts.iter().all(|part| part.place != Place::Image)
}

/// Numbers as they are stored.
pub(crate) trait FromF32 {
    /// Whether products are of bf16 too.
    const HALF: bool;

    fn from_f32(value: f32) -> Self;
}

impl FromF32 for f32 {
    const HALF: bool = false;

    fn from_f32(value: f32) -> f32 {
        value
    }
}

impl FromF32 for u16 {
    const HALF: bool = true;

    fn from_f32(value: f32) -> u16 {
        bf16(value)
    }
}

fn chunks<T: Element + FromF32>(fixed: &Fixed) -> Vec<[T; LANES]> {
    let voxels = fixed.shape.size.iter().product::<usize>();
    let channels = fixed.shape.channels;
    let mut made = vec![[T::default(); LANES]; room(fixed.shape)];
    for (at, &value) in fixed.values.iter().enumerate() {
        let (channel, voxel) = (at / voxels, at % voxels);
        made[voxel * blocks(channels) + channel / LANES][channel % LANES] = T::from_f32(value);
    }
    made
}
