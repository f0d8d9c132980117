//! The networks on a thread of their own: while it runs one batch, the next is gathered and
//! the last is blended.
//!
//! Two sets of buffers go round, so the networks wait only where blending is slower than
//! they are. Answers come back in the order of the questions: no result depends on timing.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use ndarray::Array5;

use crate::engine::{Engine, EngineError, EngineSpec};

use super::meter::Clock;

/// Sets of buffers: one in the network, one being blended and filled again.
pub(super) const SETS: usize = 2;

/// What one call reads and writes.
pub(super) struct Buffers {
    /// `[batch, channel, z, y, x]`.
    pub patches: Array5<f32>,
    /// `[batch, class, z, y, x]`.
    pub logits: Array5<f32>,
    /// Seconds the network took.
    pub network_s: f64,
}

impl Buffers {
    pub(super) fn new(spec: &EngineSpec) -> Buffers {
        Buffers {
            patches: Array5::zeros(spec.input_shape()),
            logits: Array5::zeros(spec.output_shape()),
            network_s: 0.0,
        }
    }
}

/// The way to the networks and back. They end when it is dropped.
pub(super) struct Feed {
    questions: SyncSender<(usize, Buffers)>,
    answers: Receiver<Result<Buffers, EngineError>>,
}

impl Feed {
    /// Starts the thread.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        engines: &'scope mut [Box<dyn Engine>],
        clock: Clock<'scope>,
    ) -> Feed {
        let (questions, asked) = sync_channel::<(usize, Buffers)>(SETS);
        let (answer, answers) = sync_channel(SETS);
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
    pub(super) fn ask(&self, engine: usize, buffers: Buffers) -> Result<(), EngineError> {
        self.questions.send((engine, buffers)).map_err(|_| gone())
    }

    /// The oldest answer that was not taken yet.
    pub(super) fn take(&self) -> Result<Buffers, EngineError> {
        self.answers.recv().unwrap_or_else(|_| Err(gone()))
    }
}

/// Only a panic ends the thread early; the scope hands it on.
fn gone() -> EngineError {
    EngineError::Backend { backend: "engine", reason: "its thread has ended".to_owned() }
}
