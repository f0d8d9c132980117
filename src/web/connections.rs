//! Who may be connected at one time, and who has to go where nobody else can come in.
//!
//! Owns a bounded list. A connection that waits (it has sent no whole request yet, or has its answer)
//! makes room for a new one: the oldest of the address with the most of them, so that one machine's
//! silent connections shut nobody else out. Refuses to end an answer under way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;

/// Connections at one time: a browser opens six, and a ward has a dozen of them.
pub(super) const MAX_CONNECTIONS: usize = 256;
/// Of one address, which may be a proxy's.
const MAX_OF_ONE: usize = MAX_CONNECTIONS * 3 / 4;

/// A connection.
#[derive(Debug)]
struct Open {
    id: u64,
    from: IpAddr,
    /// Answers under way.
    answers: usize,
    /// Its place in the order in which connections began to wait.
    waits_since: u64,
    close: Arc<Notify>,
}

#[derive(Debug, Default)]
struct List {
    open: Vec<Open>,
    count: u64,
}

impl List {
    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// The connection that makes room: of `from` alone where that is given.
    fn oldest_waiting(&self, from: Option<IpAddr>) -> Option<usize> {
        let is_waiting = |one: &&Open| one.answers == 0 && from.is_none_or(|from| one.from == from);
        let mut waiting: HashMap<IpAddr, usize> = HashMap::new();
        for one in self.open.iter().filter(is_waiting) {
            *waiting.entry(one.from).or_default() += 1;
        }
        let all = self.open.iter().enumerate().filter(|(_, one)| is_waiting(one));
        let order = |one: &Open| (std::cmp::Reverse(waiting[&one.from]), one.waits_since);
        all.min_by_key(|(_, one)| order(one)).map(|(at, _)| at)
    }

    /// Whether there is room for one more, once somebody has gone for it.
    fn make_room(&mut self, from: IpAddr) -> bool {
        let own = self.open.iter().filter(|one| one.from == from).count();
        let goes = match () {
            () if own >= MAX_OF_ONE => self.oldest_waiting(Some(from)),
            () if self.open.len() >= MAX_CONNECTIONS => self.oldest_waiting(None),
            () => return true,
        };
        let Some(at) = goes else { return false };
        self.open.swap_remove(at).close.notify_one();
        true
    }
}

/// All connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<List>>);

impl Places {
    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection; none where everybody is being answered.
    pub(super) fn take(&self, from: IpAddr) -> Option<Place> {
        let mut list = self.list();
        if !list.make_room(from) {
            return None;
        }
        let id = list.next();
        let close = Arc::new(Notify::new());
        let open = Open { id, from, answers: 0, waits_since: id, close: Arc::clone(&close) };
        list.open.push(open);
        Some(Place(Arc::new(HeldConnection { places: self.clone(), id, close })))
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Open, u64)) {
        let mut list = self.list();
        let now = list.next();
        if let Some(open) = list.open.iter_mut().find(|open| open.id == id) {
            change(open, now);
        }
    }
}

#[derive(Debug)]
struct HeldConnection {
    places: Places,
    id: u64,
    close: Arc<Notify>,
}

impl Drop for HeldConnection {
    fn drop(&mut self) {
        self.places.list().open.retain(|open| open.id != self.id);
    }
}

/// A connection's place, for as long as somebody holds it.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<HeldConnection>);

impl Place {
    /// Ends when the place is needed for somebody else.
    pub(super) async fn lost(&self) {
        self.0.close.notified().await;
    }

    /// From now on an answer is under way.
    pub(super) fn begins(&self) -> Answering {
        self.0.places.change(self.0.id, |open, _| open.answers += 1);
        Answering(self.clone())
    }
}

/// An answer under way.
#[derive(Debug)]
pub(super) struct Answering(Place);

impl Answering {
    /// The answer's body, which is under way until it is sent.
    pub(super) fn with(self, body: Body) -> Body {
        Body::new(Sending { body, _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let HeldConnection { places, id, .. } = &*self.0.0;
        places.change(*id, |open, now| {
            open.answers = open.answers.saturating_sub(1);
            open.waits_since = now;
        });
    }
}

/// A body with what is told when it ends.
struct Sending {
    body: Body,
    _answering: Answering,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn is_open(place: &Place) -> bool {
        place.0.places.list().open.iter().any(|open| open.id == place.0.id)
    }

    #[test]
    fn who_waits_longest_of_those_with_the_most_makes_room() {
        let places = Places::default();
        let other = places.take(address(2)).unwrap();
        let silent: Vec<Place> =
            (0..MAX_OF_ONE).map(|_| places.take(address(1)).unwrap()).collect();
        let more = places.take(address(1)).unwrap();
        assert!(!is_open(&silent[0]) && is_open(&silent[1]) && is_open(&more));
        let ward: Vec<Place> = (0..100).map(|n| places.take(address(10 + n)).unwrap()).collect();
        assert!(is_open(&other) && ward.iter().all(is_open), "one machine's go, nobody else's");
        assert_eq!(places.list().open.len(), MAX_CONNECTIONS);
    }

    #[test]
    fn an_answer_under_way_is_not_ended_and_what_is_answered_waits_again() {
        let places = Places::default();
        let all: Vec<Place> =
            (0..MAX_CONNECTIONS).map(|n| places.take(address((n % 200) as u8)).unwrap()).collect();
        let mut answers: Vec<Answering> = all.iter().map(Place::begins).collect();
        assert!(places.take(address(250)).is_none(), "everybody is being answered");
        drop(answers.remove(7));
        drop(answers.remove(3).with(Body::empty()));
        assert!(places.take(address(250)).is_some());
        assert!(!is_open(&all[7]) && is_open(&all[3]), "the seventh waits longer");
        drop(answers);
        drop(all);
        assert!(places.list().open.is_empty());
    }
}
