// The labeler: one case, its phases side by side, its regions as a list, and the edits of a reader.

import { bytes, get } from "../api.js";
import { h, redraw, replace } from "../dom.js";
import { PHASES, ago, number, plural, time, words } from "../format.js";
import { bar, chip, confirm, notice, problem, sentence } from "../parts.js";
import { Edits } from "../viewer/edits.js";
import { View, tie } from "../viewer/view.js";
import { PRESETS, liverWindow } from "../viewer/windows.js";

const KEYS = [["1 to 9", "class of the region, or of the pen"], ["d e f", "draw, erase, filled outline"], ["v", "back to looking"], ["Ctrl Z, Ctrl Y", "undo, redo"], ["Del", "delete the region"], ["i", "interpolate between the marked slices"], ["n p", "next and previous region"], ["[ ]", "smaller, larger pen"], ["b", "boundary"], ["a c s x", "axial, coronal, sagittal, all"]];

export async function show(main, { parts, query, may }) {
  const id = parts[0];
  const root = `/api/v1/label/cases/${encodeURIComponent(id)}`;
  const stage = h("div", { class: "stage", "aria-busy": "true" }, h("p", { class: "loading" }, "Opening the case…"));
  const side = h("aside", { class: "viewer-side", "aria-label": "Labeler" });
  main.classList.add("wide");
  replace(main, h("h1", { class: "visually-hidden" }, `Labels of ${id}`), h("div", { class: "viewer" }, side, stage));
  const state = { id, root, side, stage, may, views: [], edits: [], at: 0, region: null, tool: "look", pen: 3, size: 5, fill: 0.3, boundary: true, plane: "axial", marks: [], over: false, gone: false, whose: "", start: query.get("start") ?? undefined };
  const warn = (event) => { if (state.saving) event.preventDefault(); };
  const leave = () => { state.gone = true; state.views.forEach((view) => view.close()); removeEventListener("keydown", state.keys); removeEventListener("beforeunload", warn); };
  addEventListener("beforeunload", warn);
  try {
    state.case = await get(root);
    const order = (image) => Object.keys(PHASES).indexOf(image.phase);
    state.case.images.sort((a, b) => order(a) - order(b) || a.name.localeCompare(b.name));
    if (!may("annotator")) state.whose = whoHas(state.case)[0];
    await load(state);
    if (state.gone) return leave;
    controls(state);
    state.keys = (event) => press(event, state);
    addEventListener("keydown", state.keys);
    stage.removeAttribute("aria-busy");
    stage.dataset.ready = "true";
    if (regions(state).length) select(state, regions(state)[0]);
  } catch (error) {
    // What came with a case and means nothing here is not begun with; a reader may begin without.
    const without = error.code === "unknown_label" ? h("a", { class: "button primary", href: `#/label/${encodeURIComponent(id)}?start=empty` }, "Begin without labels") : null;
    replace(stage, h("div", { class: "stopped" }, problem(error), h("div", { class: "actions" }, without, h("a", { class: "button", href: "#/label" }, "Back to the cases"))));
    if (!side.childElementCount) side.remove();
    console.error(error);
  }
  return leave;
}

const view = (state) => state.views[state.at];
const edits = (state) => state.edits[state.at];
const regions = (state) => edits(state).regions;
const names = (state) => edits(state).names;

/** Whose labels of a case can be looked at. */
const whoHas = (one) => [...one.readers, ...one.labels.map((name) => `labels:${name}`), "none"];
const called = (whose) => (whose === "none" ? "no labels" : whose.replace("labels:", "came with it: "));

async function load(state) {
  const { images } = state.case;
  state.stage.replaceChildren();
  state.stage.dataset.count = images.length;
  const cells = images.map((image, at) => {
    const title = image.phase ? PHASES[image.phase] ?? image.phase : image.name;
    const told = h("span", { class: "read-out" });
    const canvas = h("canvas", { "aria-label": `CT, ${title}`, role: "img", tabindex: "0", onpointerdown: () => activate(state, at) });
    const progress = h("div", { class: "loading" }, h("span", {}, `Loading ${title}`), bar(0, "Loading"));
    state.stage.append(h("figure", { class: "cell", "data-at": at }, h("figcaption", {}, h("b", {}, title), told), canvas, progress));
    return { image, told, canvas, progress };
  });
  for (const { image, told, canvas, progress } of cells) {
    const base = `${state.root}/${encodeURIComponent(image.name)}`;
    const one = new Edits(base);
    one.whose = state.whose;
    const [labels, data] = await Promise.all([one.open(state.start), bytes(`${base}/image`, (share) => progress.querySelector(".bar-fill").style.setProperty("width", `${Math.round(100 * share)}%`))]);
    if (state.gone) return;
    const shown = new View(canvas, image.name);
    await shown.load(data, PRESETS[0][1]);
    shown.setNames(one.names.all);
    shown.instances = image.instances ?? [];
    shown.setLabels(labels);
    // As it is in this phase, where somebody has labelled a liver.
    shown.own = liverWindow(shown, one.names.liver);
    if (shown.own) shown.setWindow(shown.own);
    shown.plane = state.plane;
    shown.moved = () => readOut(shown, one, told);
    shown.drawn = () => stroke(state, shown, one);
    one.changed = (what, about) => progressOf(state, what, about);
    one.failed = (error) => collided(state, error, one, shown);
    state.views.push(shown);
    state.edits.push(one);
    shown.setLook(state.fill, state.boundary);
    readOut(shown, one, told);
    progress.remove();
  }
  tie(state.views);
  activate(state, Math.max(0, state.case.images.findIndex((image) => image.phase === "vp")));
}

function readOut(shown, one, told) {
  const [x, y, z] = shown.voxel();
  const [nx, ny] = shown.dims;
  const label = shown.labels?.[(z * ny + y) * nx + x] ?? 0;
  replace(told, `${shown.slice()} · ${Math.round(shown.hu())} HU`, label ? ` · ${one.names.of(label)}` : "");
}

/** The phase that edits go to. */
function activate(state, at) {
  if (!state.edits[at]) return;
  const changed = state.at !== at;
  state.at = at;
  state.stage.querySelectorAll(".cell").forEach((cell) => cell.classList.toggle("active", cell.dataset.at === String(at) && state.edits.length > 1));
  if (changed) { state.region = null; state.redraw?.(); }
}

/** A stroke has ended: what it changed goes to the device, label by label. */
async function stroke(state, shown, one) {
  const over = state.over ? one.names.within : null;
  for (const [label, runs] of one.drawn(shown)) await one.edit({ op: "paint", runs, label, ...(over ? { over } : {}) }, shown);
}

function progressOf(state, what, about) {
  state.saving = what === "saving";
  const texts = { saving: ["Saving…", "calm"], saved: ["Saved", "ok"], failed: ["Not saved", "bad"] };
  const [text, tone] = texts[what];
  if (state.told) replace(state.told, chip({ text, tone }), about?.revision ? h("span", { class: "muted small-text" }, `revision ${about.revision.slice(0, 8)}`) : null);
  state.side.dataset.saved = what;
  if (what !== "saving") state.redraw?.();
}

/** Somebody was faster, or the edit cannot be: nothing of either is lost. */
async function collided(state, error, one, shown) {
  if (error.code !== "labels_changed") { notice(`${sentence(error.message)} ${sentence(error.next)}`, "bad"); return; }
  const again = await confirm("These labels were changed elsewhere", `${sentence(error.message)} Your last edit was not made. Take the newer labels in, then make it again.`, "Take them in");
  if (!again) return;
  shown.setLabels(await one.open());
  state.redraw?.();
  progressOf(state, "saved", one);
}

function select(state, region) {
  state.region = region;
  for (const shown of state.views) shown.goTo(region.centre_ras_mm);
  // The centre of a crescent lies outside it: the slice is what counts.
  state.redraw?.();
}

/** The selected region as it is after an edit: named by its voxel. */
function refreshed(state) {
  if (!state.region) return null;
  const same = (one) => one.at.every((value, axis) => value === state.region.at[axis]);
  state.region = regions(state).find(same) ?? null;
  return state.region;
}

async function act(state, operation) {
  const saved = await edits(state).edit(operation, view(state));
  if (saved) refreshed(state);
  state.redraw?.();
  return saved;
}

/** The voxel under the crosshair as operations name it. */
const here = (state) => view(state).voxel().reverse();

function controls(state) {
  const list = h("div", { class: "lesions", role: "group", "aria-label": "Regions" });
  const count = h("h2", {});
  const tools = h("div", {});
  const steps = h("div", { class: "row" });
  const first = h("span", { class: "muted small-text" });
  state.told = h("div", { class: "row saved", role: "status" }, first);
  state.redraw = () => {
    refreshed(state);
    const shown = regions(state);
    replace(count, `${plural(shown.length, "region")}`);
    const slices = view(state).dims[2];
    redraw(list, shown.map((region) => h("button", { class: "lesion", "data-key": region.at.join("-"), "aria-pressed": String(region === state.region), onclick: () => select(state, region) },
      h("span", { class: "swatch", tint: names(state).tint(region.label) }), h("b", {}, names(state).of(region.label)), h("span", { class: "muted" }, spread(slices - region.hi[0] + 1, slices - region.lo[0])), h("span", { class: "num" }, `${number(region.volume_cm3)} cm³`))));
    if (state.whose) { replace(tools); replace(steps); return; }
    redraw(tools, regionTools(state));
    const [undo, redo] = edits(state).steps;
    redraw(steps, h("button", { class: "small", disabled: !undo, "data-key": "undo", onclick: () => edits(state).undo(view(state)) }, `Undo (${undo})`), h("button", { class: "small", disabled: !redo, "data-key": "redo", onclick: () => edits(state).redo(view(state)) }, `Redo (${redo})`));
  };
  const report = state.case.report;
  const penSection = h("section", { "aria-label": "Pen" }, h("h2", {}, "Pen"), pen(state));
  state.redrawAll = () => {
    penSection.hidden = Boolean(state.whose);
    replace(first, state.whose ? "To look at: nothing is changed." : "Every edit is saved at once.");
    replace(state.told, first);
    state.redraw();
  };
  replace(state.side,
    h("p", { class: "crumb" }, h("a", { href: "#/label" }, "Cases"), ` / ${state.id}`), whoseLabels(state), state.told, steps,
    h("section", { "aria-label": "Regions" }, count, list), h("section", { "aria-label": "Region" }, tools),
    penSection,
    h("section", { "aria-label": "Look" }, h("h2", {}, "Look"), look(state)),
    report ? h("details", {}, h("summary", {}, "Report"), h("p", {}, `${words(report.verdict)}: ${report.patient_class?.base ?? ""} / ${report.patient_class?.high ?? ""}`), h("ul", { class: "plain" }, (report.lesions ?? []).map((lesion) => h("li", {}, `${lesion.id} ${lesion.class}, ${number(lesion.volume_cm3)} cm³, ${words(lesion.reclassified?.outcome)}`)))) : null,
    readers(state), history(state), exports(state),
    h("details", {}, h("summary", {}, "Keys"), h("dl", { class: "key-help" }, KEYS.map(([keys, what]) => h("div", {}, h("dt", {}, keys), h("dd", {}, what))))));
  state.redrawAll();
}

/** One's own labels, or those of somebody else to look at. */
function whoseLabels(state) {
  const own = state.may("annotator") ? [h("option", { value: "" }, "my own")] : [];
  const choice = h("select", { id: "whose", "aria-label": "Labels of" }, own, whoHas(state.case).map((name) => h("option", { value: name }, called(name))));
  choice.value = state.whose;
  choice.addEventListener("change", async () => {
    const before = state.whose;
    state.whose = choice.value;
    state.region = null;
    if (state.whose) state.setTool("look");
    try {
      for (const [at, one] of state.edits.entries()) {
        await one.busy;
        one.whose = state.whose;
        state.views[at].setLabels(await one.open());
      }
    } catch (error) {
      notice(`${sentence(error.message)} ${sentence(error.next)}`, "bad");
      state.whose = choice.value = before;
      for (const one of state.edits) one.whose = before;
    }
    state.redrawAll();
  });
  return h("label", { class: "row" }, h("span", {}, "Labels of"), choice);
}

const spread = (from, to) => (from === to ? `slice ${from}` : `slices ${from}–${to}`);

function classButtons(state, now, choose) {
  return h("div", { class: "classes", role: "group", "aria-label": "Class" }, names(state).classes.map((known) => h("button", { class: "small", "data-key": `class-${known.label}`, title: `${known.long} (${known.label})`, "aria-pressed": String(known.label === now), onclick: () => choose(known.label) },
    h("span", { class: "swatch", tint: `rgb(${known.rgb})` }), known.name)));
}

function regionTools(state) {
  const region = state.region;
  if (!region) return h("p", { class: "muted" }, "Choose a region, or draw one.");
  const at = region.at;
  const button = (text, key, onclick, title = "") => h("button", { class: "small", "data-key": key, onclick, title }, text);
  const others = state.case.images.map((image, index) => ({ image, index })).filter(({ index }) => index !== state.at);
  return [h("h2", {}, `Region: ${names(state).of(region.label)}`), classButtons(state, region.label, (label) => act(state, { op: "relabel", at, label })),
    h("div", { class: "tools" },
      button("Delete", "delete", () => act(state, { op: "delete", at }), "It becomes what it lies in"),
      button("Fill holes", "fill", () => act(state, { op: "fill", at, within: "volume" })),
      button("Fill slices", "fill-slices", () => act(state, { op: "fill", at, within: "slices" })),
      button("Grow", "grow", () => grow(state, region), "Within the liver, by the range of its own values, 10 mm at most"),
      button(state.merging ? "Merge with this" : "Merge with…", "merge", () => merge(state, region), "Then choose the other region"),
      button("Split here", "split", () => split(state, region), "At the slice of the crosshair"),
      others.map(({ image, index }) => button(`Copy to ${image.phase ?? image.name}`, `copy-${index}`, () => copy(state, region, index)))),
    h("div", { class: "tools" }, button(`Mark slice (${state.marks.length})`, "mark", () => mark(state), "A contour to interpolate between"), state.marks.length > 1 ? button("Interpolate", "interpolate", () => interpolate(state)) : null)];
}

function merge(state, region) {
  if (!state.merging) { state.merging = region; notice("Choose the region to merge with, then press the button again."); state.redraw(); return; }
  const first = state.merging;
  state.merging = null;
  if (first.at.join() !== region.at.join()) act(state, { op: "merge", at: first.at, with: region.at });
  else state.redraw();
}

function split(state, region) {
  const [x, y, z] = view(state).nv.frac2mm(view(state).nv.scene.crosshairPos, 0, true);
  const normal = state.plane === "coronal" ? [0, 1, 0] : state.plane === "sagittal" ? [1, 0, 0] : [0, 0, 1];
  act(state, { op: "split_plane", at: region.at, point_ras_mm: [x, y, z], normal, label: region.label });
}

function grow(state, region) {
  const { labels } = view(state);
  const [nx, ny] = view(state).dims;
  const image = view(state).nv.volumes[0];
  const values = [];
  const [z0, z1] = [region.lo[0], region.hi[0]];
  for (let z = z0; z < z1 && values.length < 20000; z++) for (let y = region.lo[1]; y < region.hi[1]; y++) for (let x = region.lo[2]; x < region.hi[2]; x++) if (labels[(z * ny + y) * nx + x] === region.label) values.push(image.getValue(x, y, z));
  values.sort((a, b) => a - b);
  const at = (share) => values[Math.floor((values.length - 1) * share)];
  act(state, { op: "grow", at: region.at, label: region.label, hu: [at(0.1), at(0.9)], reach_mm: 10, inside: names(state).liver });
}

function copy(state, region, index) {
  const from = state.case.images[state.at].name;
  state.edits[index].edit({ op: "copy_from", phase: from, at: region.at }, state.views[index]);
}

function mark(state) {
  state.marks.push(here(state));
  state.redraw();
}

async function interpolate(state) {
  const marks = state.marks;
  state.marks = [];
  await act(state, { op: "interpolate", at: marks, axis: state.plane === "coronal" ? "coronal" : state.plane === "sagittal" ? "sagittal" : "axial" });
}

function pen(state) {
  const tools = h("div", { class: "segments", role: "group", "aria-label": "Tool" });
  const classes = h("div", {});
  const drawTools = () => {
    replace(tools, [["look", "Look"], ["draw", "Draw"], ["fill", "Outline"], ["erase", "Erase"]].map(([value, text]) => h("button", { id: `tool-${value}`, "aria-pressed": String(state.tool === value), onclick: () => state.setTool(value) }, text)));
    replace(classes, classButtons(state, state.pen, (label) => state.setPen(label)));
  };
  const size = h("input", { type: "range", id: "pen-size", min: 1, max: 31, step: 2, value: state.size, "aria-label": "Size of the pen", oninput: (event) => { state.size = Number(event.target.value); state.applyPen(); } });
  const over = h("input", { type: "checkbox", id: "only-liver", onchange: (event) => { state.over = event.target.checked; } });
  state.applyPen = () => state.views.forEach((shown) => { shown.setTool(state.tool === "look" ? "look" : "draw"); shown.setPen(state.tool === "erase" ? 0 : state.pen, state.tool === "fill" ? 1 : state.size, state.tool === "fill"); });
  state.setTool = (tool) => { state.tool = tool; state.applyPen(); drawTools(); };
  state.setPen = (label) => { state.pen = label; state.applyPen(); drawTools(); };
  state.setSize = (by) => { state.size = Math.min(31, Math.max(1, state.size + by)); size.value = state.size; state.applyPen(); };
  drawTools();
  return [tools, classes, h("label", { class: "row" }, h("span", {}, "Size"), size), h("label", { class: "check" }, over, " Only within the liver")];
}

function look(state) {
  const apply = () => state.views.forEach((shown) => shown.setLook(state.fill, state.boundary));
  const plane = h("div", { class: "segments", role: "group", "aria-label": "Plane" });
  state.setPlane = (value) => { state.plane = value; state.views.forEach((shown) => shown.setPlane(value)); drawPlanes(); };
  const drawPlanes = () => replace(plane, [["axial", "Axial"], ["coronal", "Coronal"], ["sagittal", "Sagittal"], ["all", "All"]].map(([value, text]) => h("button", { "aria-pressed": String(state.plane === value), onclick: () => state.setPlane(value) }, text)));
  drawPlanes();
  return [plane, h("label", { class: "row" }, h("span", {}, "Window"), windowChoice(state)),
    h("label", { class: "row" }, h("span", {}, "Fill"), h("input", { type: "range", min: 0, max: 100, value: 100 * state.fill, "aria-label": "Fill", oninput: (event) => { state.fill = event.target.value / 100; apply(); } })),
    h("label", { class: "check" }, h("input", { type: "checkbox", id: "boundary", checked: state.boundary, onchange: (event) => { state.boundary = event.target.checked; apply(); } }), " Boundary")];
}

/** The liver of each image as it was labelled, where it was; then the usual windows. */
function windowChoice(state) {
  const own = state.views.some((shown) => shown.own) ? [h("option", { value: "own" }, "Liver, this phase")] : [];
  const set = (event) => {
    const [, usual] = PRESETS[event.target.value] ?? PRESETS[0];
    state.views.forEach((shown) => shown.setWindow(event.target.value === "own" ? shown.own ?? usual : usual));
  };
  return h("select", { id: "window", onchange: set }, own, PRESETS.map(([name], at) => h("option", { value: at }, name)));
}

function readers(state) {
  const place = h("div", {});
  const known = whoHas(state.case).filter((name) => name !== "none");
  if (known.length < 2) return null;
  const choice = (id, value) => { const select = h("select", { id, "aria-label": id === "first" ? "First" : "Second" }, known.map((name) => h("option", { value: name }, called(name)))); select.value = value; return select; };
  const [first, second] = [choice("first", known[0]), choice("second", known[1])];
  const compare = async () => {
    try {
      const found = await edits(state).compare(first.value, second.value);
      replace(place, h("p", {}, found.mean_dice === null ? "Both are empty." : `Mean Dice ${found.mean_dice.toFixed(3)}`), h("ul", { class: "plain" }, found.labels.map((one) => h("li", {}, `${names(state).of(one.label)}: ${one.dice.toFixed(3)}`))),
        h("div", { class: "lesions" }, found.disagreements.slice(0, 30).map((place) => h("button", { class: "lesion", onclick: () => state.views.forEach((shown) => shown.goTo(place.centre_ras_mm)) }, h("span", { class: "swatch", tint: names(state).tint(place.first || place.second) }), h("b", {}, `${names(state).of(place.first)} / ${names(state).of(place.second)}`), h("span", { class: "num" }, `${number(place.volume_cm3)} cm³`)))));
    } catch (error) { replace(place, problem(error)); }
  };
  return h("details", {}, h("summary", {}, "Compare readers"), h("div", { class: "row" }, first, second), h("button", { class: "small", onclick: compare }, "Compare"), place);
}

function history(state) {
  const place = h("div", {});
  const fill = async (event) => {
    if (!event.target.open) return;
    const told = await edits(state).history().catch((error) => { replace(place, problem(error)); return []; });
    replace(place, h("ul", { class: "plain history" }, told.slice(-60).reverse().map((entry) => h("li", {}, h("b", {}, words(entry.what.op)), ` ${plural(entry.voxels, "voxel")}`, h("span", { class: "muted", title: time(entry.when) }, ` ${entry.reader}, ${entry.image}, ${ago(entry.when)}`)))));
  };
  return h("details", { ontoggle: fill }, h("summary", {}, "History"), place);
}

function exports(state) {
  if (!state.may("annotator")) return null;
  const of = (image) => (state.case.images.length > 1 ? `My labels of ${image.name}` : "My labels");
  const link = (image) => {
    const base = `${state.root}/${encodeURIComponent(image.name)}`;
    return h("li", {}, `${of(image)}: `, h("a", { href: `${base}/labels.nii.gz`, download: "" }, "NIfTI"), image.is_dicom ? [", ", h("a", { href: `${base}/labels.dcm`, download: "" }, "DICOM SEG")] : null);
  };
  return h("details", {}, h("summary", {}, "Export"), h("ul", { class: "plain" }, state.case.images.map(link)), h("p", { class: "muted small-text" }, "A whole folder as nnU-Net raw data set: hepalert label FOLDER --export."));
}

function press(event, state) {
  if (event.target.closest?.("select, input[type=search], dialog")) return;
  const { key } = event;
  if (state.whose && ((event.ctrlKey || event.metaKey) || "defiDelete123456789".includes(key))) return;
  if ((event.ctrlKey || event.metaKey) && key === "z") { event.preventDefault(); if (event.shiftKey) edits(state).redo(view(state)); else edits(state).undo(view(state)); return; }
  if ((event.ctrlKey || event.metaKey) && key === "y") { event.preventDefault(); edits(state).redo(view(state)); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const shown = regions(state);
  const go = (by) => { if (!shown.length) return; const now = shown.indexOf(state.region); select(state, shown[(now + by + shown.length) % shown.length]); };
  const acts = {
    d: () => state.setTool("draw"), e: () => state.setTool("erase"), f: () => state.setTool("fill"), v: () => state.setTool("look"),
    n: () => go(1), p: () => go(-1), Delete: () => state.region && act(state, { op: "delete", at: state.region.at }), i: () => (state.marks.length > 1 ? interpolate(state) : mark(state)),
    "[": () => state.setSize(-2), "]": () => state.setSize(2), b: () => document.getElementById("boundary").click(),
    a: () => state.setPlane("axial"), c: () => state.setPlane("coronal"), s: () => state.setPlane("sagittal"), x: () => state.setPlane("all"),
    ArrowUp: () => view(state).step(1), ArrowDown: () => view(state).step(-1),
  };
  for (const { label } of names(state).classes.filter((known) => known.label < 10)) acts[label] = () => (state.tool === "look" && state.region ? act(state, { op: "relabel", at: state.region.at, label }) : state.setPen(label));
  if (!acts[key]) return;
  if (event.target.matches?.("input[type=range]") && key.startsWith("Arrow")) return;
  event.preventDefault();
  acts[key]();
}
