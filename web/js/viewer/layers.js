// Labels over one CT: the layers of the report, and lesions at any gain.

import { bytes } from "../api.js";
import { DISCARDED } from "./view.js";

export class Layers {
  constructor(base, phase, voxels) {
    this.base = base;
    this.phase = phase;
    this.voxels = voxels;
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

  /** Writes what is to be seen into `out`: organs below, the layer over them. */
  async draw(out, name, step, organs) {
    if (organs) out.set(await this.layer("organs"));
    else out.fill(0);
    if (name === "none") return;
    if (name === "gain") return this.drawGain(out, await this.gains(), step);
    const layer = await this.layer(name);
    for (let i = 0; i < layer.length; i++) if (layer[i]) out[i] = name === "discarded" ? DISCARDED : layer[i];
  }

  drawGain(out, { indices, steps, classes }, step) {
    const count = upTo(steps, step);
    for (let i = 0; i < count; i++) out[indices[i]] = classes[i];
    this.shown = { step, count };
  }

  /** Only what a step of the slider changes; `under` is what lies below lesions. */
  moveGain(out, step, under) {
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
