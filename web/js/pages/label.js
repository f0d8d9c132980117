// The cases that can be labelled, and the way into one.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { PHASES, ago, plural } from "../format.js";
import { empty, table } from "../parts.js";
import * as bench from "./bench.js";

export async function show(main, context) {
  if (context.parts[0]) return bench.show(main, context);
  const { cases, skipped, order } = await get("/api/v1/label/cases");
  const search = h("input", { type: "search", id: "find", placeholder: "Name of a case" });
  const list = h("div", { class: "results" });
  const draw = () => {
    const wanted = search.value.trim().toLowerCase();
    const shown = cases.filter((one) => one.id.toLowerCase().includes(wanted));
    replace(list, shown.length ? table([["No.", "num"], "Case", "Images", ["Labels that came with it", "minor"], "Readers", "Last edit", ["Disagreement", "num"]], shown.map(line), "Cases") : empty("No case matches."));
  };
  search.addEventListener("input", draw);
  replace(main, h("header", { class: "page-head" }, h("h1", {}, "Cases"), h("p", { class: "muted" }, `${plural(cases.length, "case")}${order ? ", those first over which readers and network disagree most" : ", by name"}`)),
    h("div", { class: "filters" }, h("div", { class: "field" }, h("label", { for: "find" }, "Search"), search)), list,
    skipped.length ? h("details", { class: "panel" }, h("summary", {}, `${plural(skipped.length, "file")} passed over`), h("ul", { class: "plain" }, skipped.map((one) => h("li", {}, h("code", {}, one.path), ` ${one.why}`)))) : null);
  draw();
  if (!cases.length) replace(list, empty("There is no case in the folder.", "Put NIfTI files there: an nnU-Net raw data set, a folder per patient, or images with masks beside them."));
}

function line(one, at) {
  // A name breaks nowhere; between names lines do.
  const list = (names) => names.map((name, at) => [at ? ", " : "", h("span", { class: "whole" }, name)]);
  const names = list(one.images.map((image) => (image.phase ? PHASES[image.phase] ?? image.phase : image.name)));
  return h("tr", {}, h("td", { class: "num muted" }, at + 1), h("td", {}, h("a", { href: `#/label/${encodeURIComponent(one.id)}`, "data-key": one.id }, one.id)),
    h("td", { class: "says" }, names), h("td", { class: "minor says" }, list(one.labels)), h("td", { class: "says" }, one.readers.length ? list(one.readers) : h("span", { class: "muted" }, "nobody yet")), h("td", {}, one.edited ? ago(one.edited) : ""),
    h("td", { class: "num" }, one.disagreement === null || one.disagreement === undefined ? "" : one.disagreement.toFixed(3)));
}
