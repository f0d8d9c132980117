// What label values are called and which colours they have: this program's, or those of a data set
// that names its own.

import { CLASSES, ORGANS } from "../format.js";

const HOUSE = [...CLASSES, ...ORGANS];
// Values of which nobody has said what they mean: no colour of a lesion.
const OPEN = [[138, 160, 172], [172, 156, 132], [128, 168, 148], [160, 148, 178], [150, 170, 120], [176, 176, 160], [120, 140, 190], [190, 176, 110], [110, 170, 176], [186, 160, 150]];

export class Names {
  /** `names` are pairs of value and name; `isOpen` where nobody has said what they mean. */
  constructor(names, isHouse, isOpen = false) {
    this.isHouse = isHouse;
    const own = (names ?? []).filter(([label]) => label > 0);
    this.all = isHouse ? HOUSE : own.map(([label, name]) => ({ label, name: isOpen ? `Value ${label}` : name, long: name, rgb: isOpen ? OPEN[(label - 1) % OPEN.length] : HOUSE[(label - 1) % HOUSE.length].rgb }));
    /** What regions are relabelled to and pens draw: findings first, then what they lie in. */
    this.classes = isHouse ? CLASSES : this.all;
    this.organs = isHouse ? ORGANS : [];
  }

  of(label) { return this.all.find((one) => one.label === label)?.name ?? (label ? `label ${label}` : "none"); }
  tint(label) { return `rgb(${this.all.find((one) => one.label === label)?.rgb ?? [128, 128, 128]})`; }

  /** Whether a region is one that readers jump to, rather than what those lie in. */
  isFinding(label) { return !this.organs.some((one) => one.label === label); }

  /** The liver, and what a pen that stays in it may paint over. */
  get liver() { return this.isHouse ? [7] : this.all.filter((one) => /liver/i.test(one.name)).map((one) => one.label); }
  get within() { return this.isHouse ? [7, 8, ...CLASSES.map((one) => one.label)] : this.all.map((one) => one.label); }
}
