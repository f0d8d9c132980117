// The queue as it changes: one stream for all pages, made anew when it breaks.
//
// Only while the page is seen: a browser has six lines to one server for all of its tabs, and a
// stream takes one of them for as long as it is open.

import { get, loggedOut } from "./api.js";

const listeners = new Set();
let source = null;
let last = null;

export function subscribe(listener) {
  listeners.add(listener);
  if (last) listener(last);
  open();
  return () => {
    listeners.delete(listener);
  };
}

export function close() {
  hangUp();
  last = null;
}

function hangUp() {
  source?.close();
  source = null;
}

function tell(state) {
  last = state;
  for (const listener of [...listeners]) listener(state);
}

function open() {
  if (source || document.hidden || !listeners.size) return;
  const mine = new EventSource("/api/v1/events");
  source = mine;
  mine.addEventListener("queue", (event) => tell({ ...JSON.parse(event.data), lost: false }));
  mine.onerror = () => {
    if (mine !== source) return;
    if (last && !last.lost) tell({ ...last, lost: true });
    // A browser tries again by itself where the line broke, and not where it was refused.
    if (mine.readyState === EventSource.CLOSED) refused();
  };
}

async function refused() {
  source = null;
  const known = await get("/api/v1/session").catch(() => null);
  if (known && known.user === null) loggedOut();
  else setTimeout(open, 3000);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) hangUp();
  else open();
});
