//! Long work that cannot end half-way: what a signal leaves is said, and the process ends.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Failure, Ui};
use crate::daemon::stop_on_signals;

/// How soon a signal is heard.
const GLANCE: Duration = Duration::from_millis(50);

/// Until it is dropped, a signal ends the process with a sentence. Afterwards what is being written is
/// written whole; a second signal ends the process at once.
#[derive(Debug)]
pub(super) struct EndsOnSignal {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EndsOnSignal {
    /// From now on; `left` says what there is then, and how to go on.
    ///
    /// # Errors
    /// If the system refuses to hand signals over, or a thread.
    pub(super) fn now(ui: &Ui, left: impl Display) -> Result<EndsOnSignal, Failure> {
        let stop = stop_on_signals().map_err(Failure::failed)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, json, left) = (Arc::clone(&is_over), ui.is_json(), left.to_string());
        let watch = move || {
            while !over.load(Ordering::Relaxed) {
                if stop.load(Ordering::Relaxed) {
                    let failure = Failure::stopped(&left);
                    failure.tell(json);
                    std::process::exit(failure.exit as i32);
                }
                std::thread::park_timeout(GLANCE);
            }
        };
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(watch);
        Ok(EndsOnSignal { is_over, thread: Some(thread.map_err(Failure::failed)?) })
    }
}

impl Drop for EndsOnSignal {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It panics nowhere, and nothing hangs on it any more.
            let _ = thread.join();
        }
    }
}
