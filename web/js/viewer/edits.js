// Labels under correction: what the device says they are, what was drawn since, and the way of each
// edit to the device and back. Regions are found and changed there, in Rust; here runs are copied.

import { bytes, get, send } from "../api.js";
import { Names } from "./names.js";

export class Edits {
  constructor(base) {
    this.base = base;
    // Whose labels are looked at; one's own, to be corrected, without.
    this.whose = "";
    // Who edits here, as the device calls them.
    this.reader = "";
    this.revision = "new";
    this.steps = [0, 0];
    this.regions = [];
    this.given = null;
    this.busy = Promise.resolve();
    this.changed = () => {};
    this.failed = () => {};
    this.reopened = () => {};
    // What is to be done with an edit where others changed the labels: `again`, `aside` or `drop`.
    this.collided = async () => "drop";
  }

  async open(start) {
    if (this.whose) return this.look();
    const desk = await send("POST", `${this.base}/desk`, start ? { start } : {});
    this.reader = desk.reader;
    this.take(desk);
    this.known = await bytes(`${this.base}/labels`);
    return this.known;
  }

  /** Somebody's labels, to look at alone. Whoever has none of this image has drawn nothing here. */
  async look() {
    const of = (whose) => `whose=${encodeURIComponent(whose)}`;
    let asked = of(this.whose);
    const seen = await get(`${this.base}/seen?${asked}`).catch((error) => {
      if (!["unknown_name", "geometry_mismatch"].includes(error.code)) throw error;
      asked = of("none");
      return get(`${this.base}/seen?${asked}`);
    });
    this.take(seen);
    this.known = await bytes(`${this.base}/seen/labels?${asked}`);
    return this.known;
  }

  take({ revision, steps, regions, names, is_house: isHouse, given, shape }) {
    this.shape = shape ?? this.shape;
    if (names) {
      this.names = new Names(names, isHouse, given?.known === "not");
      this.given = given ?? null;
    }
    this.revision = revision;
    this.steps = steps;
    this.regions = regions ?? this.regions;
  }

  /** One edit after the other: each is made on what the one before left. */
  edit(operation, view) { return this.queue(() => send("POST", `${this.base}/edit`, { on: this.revision, operation }), view, operation); }
  undo(view) { return this.queue(() => send("POST", `${this.base}/undo`, { on: this.revision }), view); }
  redo(view) { return this.queue(() => send("POST", `${this.base}/redo`, { on: this.revision }), view); }

  queue(ask, view, operation = null) {
    if (this.whose) { this.reset(view); return Promise.resolve(null); }
    const done = this.busy.then(() => this.make(ask, view, operation));
    this.busy = done;
    return done;
  }

  async make(ask, view, operation) {
    this.changed("saving");
    try {
      const saved = await ask();
      this.take(saved);
      this.settle(operation, view);
      this.apply(saved.runs, view);
      this.changed("saved", saved);
      return saved;
    } catch (error) {
      // What was drawn stays on the screen until the reader has said what becomes of it.
      if (error.code === "labels_changed") return this.resolve(error, ask, view, operation);
      this.reset(view);
      // An edit that is refused has changed nothing: what is seen is what is kept.
      this.changed(error.status === 422 ? "saved" : "failed", this);
      this.failed(error);
      return null;
    }
  }

  /** Others changed the labels: neither theirs nor the edit is lost. */
  async resolve(error, ask, view, operation) {
    this.changed("collided", error);
    for (;;) {
      const choice = await this.collided(error, operation);
      try {
        const kept = choice === "aside" ? await this.keepAside(operation) : null;
        view.setLabels(await this.open());
        this.reopened(kept);
        if (choice === "again") return this.make(ask, view, operation);
        this.changed("saved", this);
        return null;
      } catch (failure) { this.failed(failure); }
    }
  }

  /** The labels of this window and the edit, under a name of their own. */
  keepAside(operation) {
    const labels = [...runsOf(this.known, this.shape)].map(([label, runs]) => ({ label, runs }));
    return send("POST", `${this.base}/aside`, { on: this.revision, labels, operation });
  }

  /** Runs of three: first voxel in memory order, how many, their label. */
  apply(runs, view) {
    for (let i = 0; i < runs.length; i += 3) {
      const [start, count, label] = [runs[i], runs[i + 1], runs[i + 2]];
      this.known.fill(label, start, start + count);
      view.labels.fill(label, start, start + count);
    }
    view.refresh();
  }

  /** Of a stroke only what the device took stays on the screen; what was drawn since stays too. */
  settle(operation, view) {
    if (operation?.op !== "paint") return;
    const [nx, ny] = view.dims;
    const { label, runs } = operation;
    for (const [z, y, x, length] of runs) {
      const start = (z * ny + y) * nx + x;
      for (let i = start; i < start + length; i++) if (view.labels[i] === label) view.labels[i] = this.known[i];
    }
  }

  /** What was drawn and not taken goes: what is seen is what is kept. */
  reset(view) {
    view.labels.set(this.known);
    view.refresh();
  }

  /** What the pen changed since the last edit, by label: runs along x, as [z, y, x, length]. */
  drawn(view) { return runsOf(view.labels, view.dims, this.known); }

  history() { return get(`${this.base}/history`); }
  compare(first, second) { return get(`${this.base}/compare?first=${encodeURIComponent(first)}&second=${encodeURIComponent(second)}`); }
}

/** Runs by label of all that is labelled, or of what differs from `known`. */
function runsOf(labels, [nx, ny], known = null) {
  const found = new Map();
  // Eight voxels at a time: what is labelled is little of a scan.
  const words = labels.length >> 3;
  const wide = (bytes) => (bytes.byteOffset % 8 === 0 ? new BigUint64Array(bytes.buffer, bytes.byteOffset, words) : null);
  const [a, b] = [wide(labels), known ? wide(known) : null];
  const none = 0n;
  const isSame = a && (b || !known) ? (w) => a[w] === (b ? b[w] : none) : () => false;
  let last = null;
  const look = (i) => {
    const label = labels[i];
    if (known ? label === known[i] : label === 0) return;
    const x = i % nx, row = (i - x) / nx, y = row % ny, z = (row - y) / ny;
    if (last && last.label === label && last.run[0] === z && last.run[1] === y && last.run[2] + last.run[3] === x) { last.run[3]++; return; }
    const run = [z, y, x, 1];
    if (!found.has(label)) found.set(label, []);
    found.get(label).push(run);
    last = { label, run };
  };
  for (let w = 0; w < words; w++) if (!isSame(w)) for (let i = 8 * w; i < 8 * w + 8; i++) look(i);
  for (let i = 8 * words; i < labels.length; i++) look(i);
  return found;
}
