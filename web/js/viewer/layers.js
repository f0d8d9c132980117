// Labels over one CT: the layers of the report, and lesions at any gain.

import { bytes } from "../api.js";
import { DISCARDED } from "./view.js";

export class Layers {
  constructor(base, phase) {
    this.base = base;
    this.phase = encodeURIComponent(phase);
    this.kept = new Map();
  }

  async layer(name) {
    if (!this.kept.has(name)) this.kept.set(name, bytes(`${this.base}/layer/${name}/${this.phase}`).catch((error) => { this.kept.delete(name); throw error; }));
    return this.kept.get(name);
  }

  /** Voxels in the order in which they turn to lesion. */
  async gains() {
    if (!this.byGain) {
      const raw = await bytes(`${this.base}/gains/${this.phase}`);
      const data = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
      const count = data.getUint32(0, true);
      const indices = new Uint32Array(count);
      const steps = new Int16Array(count);
      for (let i = 0; i < count; i++) indices[i] = data.getUint32(4 + 4 * i, true);
      for (let i = 0; i < count; i++) steps[i] = data.getInt16(4 + 4 * count + 2 * i, true);
      this.byGain = { indices, steps, classes: raw.subarray(4 + 6 * count, 4 + 7 * count) };
    }
    return this.byGain;
  }

  /** What a drawing is made of: organs below, the layer over them. */
  async load(name, organs) {
    const under = organs ? await this.layer("organs") : null;
    if (name === "none") return { name, under };
    return { name, under, over: name === "gain" ? await this.gains() : await this.layer(name) };
  }

  /** Writes what was loaded into `out`, at once: two drawings never mix. */
  draw(out, { name, under, over }, step) {
    if (under) out.set(under);
    else out.fill(0);
    this.under = under;
    if (!over) return;
    if (name === "gain") this.drawGain(out, over, step);
    else for (let i = 0; i < over.length; i++) if (over[i]) out[i] = name === "discarded" ? DISCARDED : over[i];
  }

  drawGain(out, { indices, steps, classes }, step) {
    const count = upTo(steps, step);
    for (let i = 0; i < count; i++) out[indices[i]] = classes[i];
    this.shown = { step, count };
  }

  /** Only what a step of the slider changes, where the gains are what was drawn last. */
  moveGain(out, step) {
    const { under } = this;
    const { indices, steps, classes } = this.byGain;
    const count = upTo(steps, step);
    const before = this.shown?.count ?? 0;
    for (let i = before; i < count; i++) out[indices[i]] = classes[i];
    for (let i = count; i < before; i++) out[indices[i]] = under ? under[indices[i]] : 0;
    this.shown = { step, count };
    return count;
  }
}

/** How many of the ascending steps are not above this one. */
function upTo(steps, step) {
  let [low, high] = [0, steps.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1;
    else high = middle;
  }
  return low;
}
