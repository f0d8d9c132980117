// The queue as it changes: one stream for all pages, made anew when it breaks.

import { get } from "./api.js";

const listeners = new Set();
let source = null;
let last = null;

export function current() { return last; }

export function subscribe(listener) {
  listeners.add(listener);
  if (last) listener(last);
  if (!source) open();
  return () => {
    listeners.delete(listener);
  };
}

export function close() {
  source?.close();
  source = null;
  last = null;
}

function open() {
  source = new EventSource("/api/v1/events");
  source.addEventListener("queue", (event) => {
    last = JSON.parse(event.data);
    last.lost = false;
    for (const listener of [...listeners]) listener(last);
  });
  source.onerror = async () => {
    if (last && !last.lost) {
      last = { ...last, lost: true };
      for (const listener of [...listeners]) listener(last);
    }
    // A browser tries again by itself where the line broke, and not where it was refused.
    if (source?.readyState === EventSource.CLOSED) {
      source = null;
      const known = await get("/api/v1/session").catch(() => null);
      if (known?.user === null) return;
      setTimeout(() => { if (!source && listeners.size) open(); }, 3000);
    }
  };
}
