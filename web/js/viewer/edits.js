// Labels under correction: what the device says they are, what was drawn since, and the way of each
// edit to the device and back. Regions are found and changed there, in Rust; here runs are copied.

import { bytes, get, send } from "../api.js";
import { Names } from "./names.js";

export class Edits {
  constructor(base) {
    this.base = base;
    // Whose labels are looked at; one's own, to be corrected, without.
    this.whose = "";
    this.revision = "new";
    this.steps = [0, 0];
    this.regions = [];
    this.busy = Promise.resolve();
    this.changed = () => {};
    this.failed = () => {};
  }

  async open(start) {
    if (this.whose) return this.look();
    const desk = await send("POST", `${this.base}/desk`, start ? { start } : {});
    this.take(desk);
    this.known = await bytes(`${this.base}/labels`);
    return this.known;
  }

  /** Somebody's labels, to look at alone. Whoever has none of this image has drawn nothing here. */
  async look() {
    const of = (whose) => `whose=${encodeURIComponent(whose)}`;
    let asked = of(this.whose);
    const seen = await get(`${this.base}/seen?${asked}`).catch((error) => {
      if (error.code !== "unknown_name") throw error;
      asked = of("none");
      return get(`${this.base}/seen?${asked}`);
    });
    this.take(seen);
    this.known = await bytes(`${this.base}/seen/labels?${asked}`);
    return this.known;
  }

  take({ revision, steps, regions, names, is_house: isHouse }) {
    if (names) this.names = new Names(names, isHouse);
    this.revision = revision;
    this.steps = steps;
    this.regions = regions ?? this.regions;
  }

  /** One edit after the other: each is made on what the one before left. */
  edit(operation, view) { return this.queue(() => send("POST", `${this.base}/edit`, { on: this.revision, operation }), view); }
  undo(view) { return this.queue(() => send("POST", `${this.base}/undo`, { on: this.revision }), view); }
  redo(view) { return this.queue(() => send("POST", `${this.base}/redo`, { on: this.revision }), view); }

  queue(ask, view) {
    if (this.whose) { this.reset(view); return Promise.resolve(null); }
    const done = this.busy.then(async () => {
      this.changed("saving");
      try {
        const saved = await ask();
        this.take(saved);
        this.apply(saved.runs, view);
        this.changed("saved", saved);
        return saved;
      } catch (error) {
        this.reset(view);
        this.changed("failed", error);
        this.failed(error);
        return null;
      }
    });
    this.busy = done;
    return done;
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

  /** What was drawn and not taken goes: what is seen is what is kept. */
  reset(view) {
    view.labels.set(this.known);
    view.refresh();
  }

  /** What the pen changed since the last edit, by label: runs along x, as [z, y, x, length]. */
  drawn(view) {
    const [nx, ny] = view.dims;
    const strokes = new Map();
    const { known } = this;
    const { labels } = view;
    // Eight voxels at a time: a stroke is small, a scan is large.
    const words = labels.length >> 3;
    const a = new BigUint64Array(known.buffer, known.byteOffset, words);
    const b = labels.byteOffset % 8 === 0 ? new BigUint64Array(labels.buffer, labels.byteOffset, words) : null;
    const differs = (i) => known[i] !== labels[i];
    let last = null;
    const mark = (i) => {
      const x = i % nx, row = (i - x) / nx, y = row % ny, z = (row - y) / ny;
      const label = labels[i];
      if (last && last.label === label && last.run[0] === z && last.run[1] === y && last.run[2] + last.run[3] === x) { last.run[3]++; return; }
      const run = [z, y, x, 1];
      if (!strokes.has(label)) strokes.set(label, []);
      strokes.get(label).push(run);
      last = { label, run };
    };
    if (b) {
      for (let w = 0; w < words; w++) if (a[w] !== b[w]) for (let i = 8 * w; i < 8 * w + 8; i++) if (differs(i)) mark(i);
      for (let i = 8 * words; i < labels.length; i++) if (differs(i)) mark(i);
    } else {
      for (let i = 0; i < labels.length; i++) if (differs(i)) mark(i);
    }
    return strokes;
  }

  history() { return get(`${this.base}/history`); }
  compare(first, second) { return get(`${this.base}/compare?first=${encodeURIComponent(first)}&second=${encodeURIComponent(second)}`); }
}
