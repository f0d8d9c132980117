//! The way to the networks and back, by turns or side by side.
//!
//! A network on the cores of the CPU and the blending of its last answer would only slow each
//! other down, so they take turns there, and the answer is read where the network left it. A
//! network on a device of its own is fed from a thread: while it runs one batch, the next is
//! gathered and the last is blended. Either way answers come in the order of the questions:
//! no result depends on timing.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use ndarray::{Array5, ArrayView5};

use hepalert_engines::{Engine, EngineError, EngineSpec, Placement};

use super::SegmentError;
use super::calls::EngineCall;
use super::meter::{Clock, Meter};

/// The most sets of buffers there are, those of a network beside the cores: one in the network, one
/// being blended and filled again. By turns one is enough.
pub(super) const MAX_SETS: usize = 2;

/// What is done before and after the network.
pub(super) trait Work {
    /// Fills the patches of a call.
    fn fill(&mut self, call: &EngineCall, patches: &mut Array5<f32>);

    /// Takes the answer of a call; calls come in order.
    fn take(&mut self, call: &EngineCall, logits: ArrayView5<'_, f32>) -> Result<(), SegmentError>;
}

/// Runs all calls, one after the other.
///
/// # Errors
/// The first error of an engine or of the work.
pub(super) fn run(
    engines: &mut [Box<dyn Engine>],
    spec: &EngineSpec,
    calls: impl Iterator<Item = EngineCall>,
    meter: &mut Meter<'_>,
    work: &mut dyn Work,
) -> Result<(), SegmentError> {
    let beside = engines.iter().all(|engine| engine.placement() == Placement::Accelerator);
    if beside {
        let clock = meter.clock;
        std::thread::scope(|scope| {
            let feed = Feed::start(scope, engines, clock);
            run_pipelined(&feed, spec, calls, meter, work)
        })
    } else {
        run_serial(engines, spec, calls, meter, work)
    }
}

fn run_serial(
    engines: &mut [Box<dyn Engine>],
    spec: &EngineSpec,
    calls: impl Iterator<Item = EngineCall>,
    meter: &mut Meter<'_>,
    work: &mut dyn Work,
) -> Result<(), SegmentError> {
    let Buffers { mut patches, mut logits, .. } = Buffers::new(spec);
    for call in calls {
        meter.time(|busy| &mut busy.gather_s, || work.fill(&call, &mut patches));
        let asked = (meter.clock)();
        let mut taken = Ok(());
        let mut answered = asked;
        engines[call.engine].infer_with(patches.view(), &mut logits, &mut |logits| {
            answered = (meter.clock)();
            taken = meter.time(|busy| &mut busy.blend_s, || work.take(&call, logits));
        })?;
        taken?;
        meter.busy.network_s += answered - asked;
        meter.busy.wait_s += answered - asked;
    }
    Ok(())
}

fn run_pipelined(
    feed: &Feed,
    spec: &EngineSpec,
    mut calls: impl Iterator<Item = EngineCall>,
    meter: &mut Meter<'_>,
    work: &mut dyn Work,
) -> Result<(), SegmentError> {
    let mut free: Vec<Buffers> = (0..MAX_SETS).map(|_| Buffers::new(spec)).collect();
    let mut asked = VecDeque::with_capacity(MAX_SETS);
    loop {
        while let Some(mut buffers) = free.pop() {
            let Some(call) = calls.next() else { break };
            meter.time(|busy| &mut busy.gather_s, || work.fill(&call, &mut buffers.patches));
            feed.ask(call.engine, buffers)?;
            asked.push_back(call);
        }
        let Some(call) = asked.pop_front() else { return Ok(()) };
        let buffers = meter.time(|busy| &mut busy.wait_s, || feed.take())?;
        meter.busy.network_s += buffers.network_s;
        meter.time(|busy| &mut busy.blend_s, || work.take(&call, buffers.logits.view()))?;
        free.push(buffers);
    }
}

/// What one call reads and writes.
struct Buffers {
    /// `[batch, channel, z, y, x]`.
    patches: Array5<f32>,
    /// `[batch, class, z, y, x]`.
    logits: Array5<f32>,
    /// Seconds the network took.
    network_s: f64,
}

impl Buffers {
    fn new(spec: &EngineSpec) -> Buffers {
        Buffers {
            patches: Array5::zeros(spec.input_shape()),
            logits: Array5::zeros(spec.output_shape()),
            network_s: 0.0,
        }
    }
}

/// The networks on a thread of their own. They end when it is dropped.
struct Feed {
    questions: SyncSender<(usize, Buffers)>,
    answers: Receiver<Result<Buffers, EngineError>>,
}

impl Feed {
    /// Starts the thread.
    fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        engines: &'scope mut [Box<dyn Engine>],
        clock: Clock<'scope>,
    ) -> Feed {
        let (questions, asked) = sync_channel::<(usize, Buffers)>(MAX_SETS);
        let (answer, answers) = sync_channel(MAX_SETS);
        scope.spawn(move || {
            for (engine, mut buffers) in asked {
                let Buffers { patches, logits, network_s } = &mut buffers;
                let started = clock();
                let done = engines[engine].infer(patches.view(), logits.view_mut());
                *network_s = clock() - started;
                if answer.send(done.map(|()| buffers)).is_err() {
                    return;
                }
            }
        });
        Feed { questions, answers }
    }

    /// Hands over one call; never waits, since there are no more sets than places.
    fn ask(&self, engine: usize, buffers: Buffers) -> Result<(), EngineError> {
        self.questions.send((engine, buffers)).map_err(|_| gone())
    }

    /// The oldest answer that was not taken yet.
    fn take(&self) -> Result<Buffers, EngineError> {
        self.answers.recv().unwrap_or_else(|_| Err(gone()))
    }
}

/// Only a panic ends the thread early; the scope hands it on.
fn gone() -> EngineError {
    EngineError::Backend { backend: "engine", reason: "its thread has ended".to_owned() }
}
