// What label values are called and which colours they have: this program's, or those of a data set
// that names its own.

import { CLASSES, ORGANS } from "../format.js";

const HOUSE = [...CLASSES, ...ORGANS];

export class Names {
  /** `names` are pairs of value and name. */
  constructor(names, isHouse) {
    this.isHouse = isHouse;
    const own = (names ?? []).filter(([label]) => label > 0);
    this.all = isHouse ? HOUSE : own.map(([label, name]) => ({ label, name, long: name, rgb: HOUSE[(label - 1) % HOUSE.length].rgb }));
    /** What regions are relabelled to and pens draw. */
    this.classes = isHouse ? CLASSES : this.all;
  }

  of(label) { return this.all.find((one) => one.label === label)?.name ?? (label ? `label ${label}` : "none"); }
  tint(label) { return `rgb(${this.all.find((one) => one.label === label)?.rgb ?? [128, 128, 128]})`; }

  /** The liver, and what a pen that stays in it may paint over. */
  get liver() { return this.isHouse ? [7] : this.all.filter((one) => /liver/i.test(one.name)).map((one) => one.label); }
  get within() { return this.isHouse ? [7, 8, ...CLASSES.map((one) => one.label)] : this.all.map((one) => one.label); }
}
