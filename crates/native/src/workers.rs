//! Threads: who does which part of an operation.
//!
//! Parts are cut by shapes alone, never by the number of threads, and each writes memory of its
//! own: who takes which changes no bit. Owns no thread: it runs in the pool it is called in.

use std::sync::{Mutex, PoisonError};

/// Does all `tasks`, each by whichever worker is free next. Allocates nothing.
pub(crate) fn spread<W: Send, T>(
    workers: &mut [W],
    tasks: impl Iterator<Item = T> + Send,
    work: impl Fn(&mut W, T) + Sync,
) {
    let queue = Mutex::new(tasks);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    fork(workers, &|worker| {
        while let Some(task) = next() {
            work(worker, task);
        }
    });
}

fn fork<W: Send>(workers: &mut [W], work: &(impl Fn(&mut W) + Sync)) {
    match workers {
        [] => unreachable!("there is always a worker"),
        [worker] => work(worker),
        more => {
            let (left, right) = more.split_at_mut(more.len() / 2);
            rayon::join(|| fork(left, work), || fork(right, work));
        }
    }
}
