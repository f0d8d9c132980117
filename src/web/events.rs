//! The queue as a stream of server-sent events: one when somebody begins to listen, one at each
//! change, a comment now and then so that a broken line is noticed.
//!
//! Owns one look at the store a second, for all who listen together, and none where nobody does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use jiff::Timestamp;
use log::warn;

use super::access::who;
use super::page_state::{PageState, blocking};
use super::queue;
use super::queue_lines::QueueState;

/// How often the store is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1000);
/// How often a silent stream says that it lives.
const ALIVE: Duration = Duration::from_secs(15);

/// Looks at the queue for as long as the page is served.
pub(super) async fn watch_queue(site: Arc<PageState>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if site.queue.receiver_count() == 0 {
            continue;
        }
        let looked_at = Arc::clone(&site);
        match blocking(move || queue::read(&looked_at, Timestamp::now())).await {
            Ok(now) => {
                site.queue.send_if_modified(|told| {
                    let changed = **told != now;
                    *told = Arc::new(now);
                    changed
                });
            }
            Err(_) => warn!("the page: the queue cannot be read; tried again"),
        }
    }
}

/// `GET /api/v1/events`. Nothing more is told once the session has ended with which it was asked for.
pub(super) async fn stream(
    State(site): State<Arc<PageState>>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut told = site.queue.subscribe();
    // What is there may be old: nobody listened.
    let shared = Arc::clone(&site);
    let first = blocking(move || queue::read(&shared, Timestamp::now())).await.ok();
    told.mark_unchanged();
    // Whom a proxy lets in has no session: the proxy's line ends with theirs.
    let has_session = matches!(who(&site, &headers).await, Ok(Some(_)));
    let listener = Arc::new((site, headers));
    let events = unfold((first, told), move |(first, mut told)| {
        let listener = Arc::clone(&listener);
        async move {
            let state = match first {
                Some(state) => Arc::new(state),
                None => {
                    // The server has ended.
                    told.changed().await.ok()?;
                    Arc::clone(&told.borrow_and_update())
                }
            };
            let (site, headers) = &*listener;
            if has_session && !matches!(who(site, headers).await, Ok(Some(_))) {
                return None;
            }
            Some((Ok(event(&state)), (None, told)))
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE))
}

fn event(state: &QueueState) -> Event {
    let event = Event::default().event("queue");
    event.json_data(state).unwrap_or_else(|_| Event::default().comment("unsayable"))
}
