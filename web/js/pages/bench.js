// The labeler: one case, its phases side by side, its regions as a list, and the edits of a reader.

import { bytes, get } from "../api.js";
import { h, redraw, replace } from "../dom.js";
import { PHASES, ago, number, plural, time, words } from "../format.js";
import { bar, chip, notice, problem, sentence } from "../parts.js";
import { Edits } from "../viewer/edits.js";
import { View, breathe, stepAll, tie } from "../viewer/view.js";
import { PRESETS, liverWindow } from "../viewer/windows.js";
import { askCollided, givenPanel } from "./given.js";

const KEYS = [["1 to 9", "class of the region, or of the pen"], ["d e f", "draw, erase, filled outline"], ["v", "back to looking"], ["Ctrl Z, Ctrl Y", "undo, redo"], ["Del", "delete the region"], ["i", "interpolate between the marked slices"], ["Esc", "merge with nothing"], ["n p", "next and previous region"], ["[ ]", "smaller, larger pen"], ["b", "boundary"], ["a c s x", "axial, coronal, sagittal, all"]];

export async function show(main, { parts, query, may }) {
  const id = parts[0];
  const root = `/api/v1/label/cases/${encodeURIComponent(id)}`;
  const stage = h("div", { class: "stage", "aria-busy": "true" }, h("p", { class: "loading" }, "Opening the case…"));
  const side = h("aside", { class: "viewer-side", "aria-label": "Labeler" });
  main.classList.add("wide");
  replace(main, h("h1", { class: "visually-hidden" }, `Labels of ${id}`), h("div", { class: "viewer" }, side, stage));
  const state = { id, root, side, stage, may, views: [], edits: [], at: 0, region: null, tool: "look", pen: 3, size: 5, fill: 0.3, boundary: true, plane: "axial", marks: [], over: false, stay: true, organs: false, gone: false, whose: "", start: query.get("start") ?? undefined };
  const warn = (event) => { if (state.saving) event.preventDefault(); };
  const leave = () => { state.gone = true; views(state).forEach((view) => view.close()); removeEventListener("keydown", state.keys); removeEventListener("beforeunload", warn); };
  addEventListener("beforeunload", warn);
  try {
    state.case = await get(root);
    const order = (image) => Object.keys(PHASES).indexOf(image.phase);
    state.case.images.sort((a, b) => order(a) - order(b) || a.name.localeCompare(b.name));
    if (!may("annotator")) state.whose = whoHas(state.case)[0];
    await load(state, () => {
      controls(state);
      state.keys = (event) => press(event, state);
      addEventListener("keydown", state.keys);
      stage.dataset.ready = "true";
      if (listed(state).length) select(state, listed(state)[0]);
    });
    stage.removeAttribute("aria-busy");
  } catch (error) {
    // What came with a case and means nothing here is not begun with; a reader may begin without.
    const without = error.code === "unknown_label" ? h("a", { class: "button primary", href: `#/label/${encodeURIComponent(id)}?start=empty` }, "Begin without labels") : null;
    replace(stage, h("div", { class: "stopped" }, problem(error), h("div", { class: "actions" }, without, h("a", { class: "button", href: "#/label" }, "Back to the cases"))));
    delete stage.dataset.count;
    if (!side.childElementCount) { side.remove(); stage.parentElement.classList.add("halted"); }
    console.error(error);
  }
  return leave;
}

const view = (state) => state.views[state.at];
const edits = (state) => state.edits[state.at];
const regions = (state) => edits(state).regions;
const names = (state) => edits(state).names;
/** What is jumped to: findings, or else whatever is labelled. */
const findings = (state) => regions(state).filter((one) => names(state).isFinding(one.label));
const listed = (state) => (findings(state).length ? findings(state) : regions(state));
/** Those that are there already: the others are still on their way. */
const views = (state) => state.views.filter(Boolean);
const titleOf = (image) => (image.phase ? PHASES[image.phase] ?? image.phase : image.name);

/** Whose labels of a case can be looked at. */
const whoHas = (one) => [...one.readers, ...one.labels.map((name) => `labels:${name}`), "none"];
const called = (whose) => (whose === "none" ? "no labels" : whose.replace("labels:", "came with it: "));

/** The image that is read first comes first and can be worked on while the others follow. */
async function load(state, ready) {
  const { images } = state.case;
  state.stage.replaceChildren();
  state.stage.dataset.count = images.length;
  const cells = images.map((image, at) => {
    const title = titleOf(image);
    const told = h("span", { class: "read-out" });
    const canvas = h("canvas", { "aria-label": `CT, ${title}`, role: "img", tabindex: "0", onpointerdown: () => activate(state, at) });
    const progress = h("div", { class: "loading" }, h("span", {}, `${title} waits`), bar(0, `Loading ${title}`));
    state.stage.append(h("figure", { class: "cell", "data-at": at }, h("figcaption", {}, h("b", {}, title), told), canvas, progress));
    return { image, told, canvas, progress };
  });
  const first = Math.max(0, images.findIndex((image) => image.phase === "vp"));
  const order = [first, ...images.keys()].filter((at, place, all) => all.indexOf(at) === place);
  for (const [done, at] of order.entries()) {
    await loadOne(state, cells[at], at, `${done + 1} of ${images.length}`);
    if (state.gone) return;
    // Where the reader is by now: what comes later would stay at its middle.
    if (done) state.views[at].goTo(view(state).place());
    tie(views(state));
    state.stage.dataset.loaded = done + 1;
    if (!done) { activate(state, at); ready(); } else state.arrived(at);
    await breathe();
  }
}

async function loadOne(state, { image, told, canvas, progress }, at, count) {
  const title = titleOf(image);
  const say = (text) => replace(progress.firstElementChild, `${text} (${count})`);
  say(`Loading ${title}`);
  const base = `${state.root}/${encodeURIComponent(image.name)}`;
  const one = new Edits(base);
  one.whose = state.whose;
  const filled = (share) => progress.querySelector(".bar-fill").style.setProperty("width", `${Math.round(100 * share)}%`);
  const shown = new View(canvas, image.name);
  const [labels, data] = await Promise.all([one.open(state.start), bytes(`${base}/image`, filled), shown.attach()]);
  if (state.gone) { shown.close(); return; }
  say(`Drawing ${title}`);
  await breathe();
  // As it is in this phase, where somebody has labelled a liver.
  shown.own = liverWindow(data, labels, one.names.liver);
  await shown.load(data, shown.own ?? PRESETS[0][1]);
  shown.setNames(one.names.all);
  shown.instances = image.instances ?? [];
  shown.plane = state.plane;
  shown.setLabels(labels);
  if (state.plane !== "axial") shown.setPlane(state.plane);
  shown.moved = () => readOut(shown, one, told);
  shown.drawn = () => stroke(state, shown, one, at);
  one.changed = (what, about) => progressOf(state, what, about);
  one.failed = (error) => notice(`${sentence(error.message)} ${sentence(error.next ?? "")}`, "bad");
  one.collided = askCollided;
  one.reopened = (kept) => reopened(state, at, kept);
  state.views[at] = shown;
  state.edits[at] = one;
  shown.setLook(state.fill, state.boundary);
  readOut(shown, one, told);
  progress.remove();
}

/** Newer labels are there; those of this window may have been kept beside them. */
function reopened(state, at, kept) {
  state.views[at].setNames(state.edits[at].names.all);
  if (kept) {
    joined(state, kept.reader);
    notice(`${kept.refused ? `${sentence(kept.refused)} ` : ""}Your labels are kept as ${kept.reader}: look at them by Labels of, and take regions over from there.`);
  }
  letGo(state);
  state.redraw?.();
}

/** What was chosen in one image's labels means nothing in others. */
function letGo(state) {
  state.region = null;
  state.merging = null;
  state.marks = [];
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
  if (changed) { letGo(state); state.redraw?.(); }
}

/** A stroke has ended: what it changed goes to the device, label by label. */
async function stroke(state, shown, one, at) {
  for (const [label, runs] of one.drawn(shown)) {
    const over = allowed(state, one, label);
    if (over && !over.length) { one.reset(shown); notice("No liver is labelled here: draw one with the pen Liver, or take one over that came with the case.", "bad"); return; }
    const saved = await one.edit({ op: "paint", runs, label, ...(over ? { over } : {}) }, shown);
    if (saved && over && !saved.runs.length) notice(one.names.isFinding(label) ? "Nothing was drawn: only the liver may be painted over." : "Nothing was drawn: findings stay.");
    if (at === state.at) touched(state, saved);
  }
}

/** What a pen may paint over; everything without. */
function allowed(state, one, label) {
  if (label && !one.names.isFinding(label)) return state.stay ? [0, ...one.names.organs.map((organ) => organ.label)] : null;
  if (!state.over) return null;
  return one.regions.some((region) => one.names.liver.includes(region.label)) ? one.names.within : [];
}

/** The region that an edit has made is the one to go on with. */
function touched(state, saved) {
  if (!saved?.touched) return;
  const made = regions(state).find((one) => one.at.every((value, axis) => value === saved.touched[axis]));
  if (made) { state.region = made; state.redraw?.(); }
}

function progressOf(state, what, about) {
  state.saving = what === "saving" || what === "collided";
  const texts = { saving: ["Saving…", "calm"], saved: ["Saved", "ok"], failed: ["Not saved", "bad"], collided: ["Changed elsewhere", "warn"] };
  const isSame = what === "saved" && about?.runs?.length === 0;
  const [text, tone] = isSame ? ["Nothing changed", "calm"] : texts[what];
  const revision = about?.revision && about.revision !== "new" ? about.revision.slice(0, 8) : "";
  if (state.told) replace(state.told, chip({ text, tone }), revision ? h("span", { class: "muted small-text" }, `revision ${revision}`) : null);
  state.side.dataset.saved = what;
  if (what === "saved" && revision) joined(state, edits(state).reader);
  if (!state.saving) state.redraw?.();
}

/** A first edit makes somebody a reader of the case. */
function joined(state, reader) {
  if (!reader || state.case.readers.includes(reader)) return;
  state.case.readers.push(reader);
  state.fillWhose();
  state.fillReaders();
}

function select(state, region) {
  // Contours that are interpolated between are regions of one class, each chosen to be marked.
  if (state.marks.length && labelAt(state, state.marks[0]) !== region.label) state.marks = [];
  state.region = region;
  // Where most of it is: the centre of a crescent lies outside it, and in another slice.
  const place = view(state).goToVoxel([...region.key].reverse());
  for (const shown of views(state)) if (shown !== view(state)) shown.goTo(place);
  state.redraw?.();
}

function labelAt(state, [z, y, x]) {
  const { labels, dims: [nx, ny] } = view(state);
  return labels[(z * ny + y) * nx + x];
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
  if (operation.op !== "delete") touched(state, saved);
  if (operation.op === "fill" && saved && !saved.runs.length) notice("There is nothing to fill.");
  state.redraw?.();
  return saved;
}

/** `undo` or `redo`. Where it brings one region and nothing else, that is the one to go on with. */
async function step(state, way) {
  const one = edits(state);
  const named = (region) => `${region.label} ${region.at}`;
  const before = new Set(one.regions.map(named));
  const saved = await one[way](view(state));
  if (!saved || one !== edits(state)) return;
  const brought = one.regions.filter((region) => !before.has(named(region)));
  const isAll = saved.runs.every((value, i) => i % 3 !== 2 || value === brought[0]?.label);
  if (brought.length !== 1 || !isAll) return;
  [state.region] = brought;
  state.redraw();
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
  const given = h("div", {});
  state.redraw = () => {
    refreshed(state);
    const shown = findings(state);
    const organs = regions(state).filter((one) => !names(state).isFinding(one.label));
    replace(count, shown.length || !organs.length ? plural(shown.length, "region") : "No lesion is labelled");
    const slices = view(state).dims[2];
    const row = (region) => h("button", { class: "lesion region", "data-key": region.at.join("-"), "aria-pressed": String(region === state.region), onclick: () => select(state, region) },
      h("span", { class: "swatch", tint: names(state).tint(region.label) }), h("b", {}, names(state).of(region.label)), h("span", { class: "extent" }, `${spread(slices - region.hi[0] + 1, slices - region.lo[0])} · ${number(region.volume_cm3)} cm³`));
    const scrolled = list.querySelector(".organ-list")?.scrollTop ?? 0;
    redraw(list, shown.map(row), organs.length ? organList(state, organs, row) : null);
    list.querySelector(".organ-list")?.scrollTo(0, scrolled);
    if (state.whose) { replace(tools, takeTools(state)); replace(steps); return; }
    redraw(tools, regionTools(state));
    const [undo, redo] = edits(state).steps;
    redraw(steps, h("button", { class: "small", disabled: !undo, "data-key": "undo", onclick: () => step(state, "undo") }, `Undo (${undo})`), h("button", { class: "small", disabled: !redo, "data-key": "redo", onclick: () => step(state, "redo") }, `Redo (${redo})`));
  };
  const report = state.case.report;
  const penSection = h("section", { "aria-label": "Pen" }, h("h2", {}, "Pen"), pen(state));
  state.redrawAll = () => {
    // The pen's classes are those of the labels that are shown.
    state.setTool(state.tool);
    for (const shown of views(state)) shown.moved();
    const at = state.edits.findIndex((one) => one?.given);
    const from = at < 0 ? state.at : at;
    const acts = { again: () => state.look(state.whose), take: (operation) => takeOver(state, from, operation), underLesions: [0, ...names(state).liver] };
    replace(given, state.whose && state.whose !== "none" ? givenPanel(state.whose, state.edits[from].given, state.may("annotator"), acts) : null);
    penSection.hidden = Boolean(state.whose);
    replace(first, state.whose ? "To look at: nothing is changed." : "Every edit is saved at once.");
    replace(state.told, first);
    state.redraw();
  };
  replace(state.side,
    h("p", { class: "crumb" }, h("a", { href: "#/label" }, "Cases"), ` / ${state.id}`), whoseLabels(state), given, state.told, steps,
    h("section", { "aria-label": "Regions" }, count, list), h("section", { "aria-label": "Region" }, tools),
    penSection,
    h("section", { "aria-label": "Look" }, h("h2", {}, "Look"), look(state)),
    report ? h("details", {}, h("summary", {}, "Report"), h("p", {}, `${words(report.verdict)}: ${report.patient_class?.base ?? ""} / ${report.patient_class?.high ?? ""}`), h("ul", { class: "plain" }, (report.lesions ?? []).map((lesion) => h("li", {}, `${lesion.id} ${lesion.class}, ${number(lesion.volume_cm3)} cm³, ${words(lesion.reclassified?.outcome)}`)))) : null,
    readers(state), history(state), exports(state),
    h("details", {}, h("summary", {}, "Keys"), h("dl", { class: "key-help" }, KEYS.map(([keys, what]) => h("div", {}, h("dt", {}, keys), h("dd", {}, what))))));
  state.redrawAll();
}

/** Long lists scroll in themselves: what is done with a region stays in sight. */
function organList(state, organs, row) {
  const isOpen = state.organsListed || organs.includes(state.region);
  return h("details", { class: "organs", open: isOpen, ontoggle: (event) => { state.organsListed = event.target.open; } }, h("summary", {}, `Liver and organs (${organs.length})`),
    h("div", { class: "organ-list", tabindex: "0", role: "region", "aria-label": "Liver and organs", "data-key": "organ-list" }, organs.map(row)));
}

/** One's own labels, or those of somebody else to look at. */
function whoseLabels(state) {
  const choice = h("select", { id: "whose", "aria-label": "Labels of" });
  state.fillWhose = () => {
    const own = state.may("annotator") ? [h("option", { value: "" }, "my own")] : [];
    replace(choice, own, whoHas(state.case).map((name) => h("option", { value: name }, called(name))));
    choice.value = state.whose;
  };
  state.look = async (whose) => {
    const before = state.whose;
    state.whose = whose;
    letGo(state);
    if (whose) state.setTool("look");
    try {
      for (const [at, one] of state.edits.entries()) if (one) await lookAt(state, at);
    } catch (error) {
      notice(`${sentence(error.message)} ${sentence(error.next)}`, "bad");
      state.whose = before;
      for (const one of state.edits) if (one) one.whose = before;
    }
    state.fillWhose();
    state.redrawAll();
  };
  // What came while others were looked at shows the same as they do.
  state.arrived = async (at) => {
    if (state.edits[at].whose !== state.whose) await lookAt(state, at);
    state.applyPen();
    state.redraw();
  };
  choice.addEventListener("change", () => state.look(choice.value));
  state.fillWhose();
  return h("label", { class: "row" }, h("span", {}, "Labels of"), choice);
}

async function lookAt(state, at) {
  const one = state.edits[at];
  await one.busy;
  one.whose = state.whose;
  const labels = await one.open();
  state.views[at].setNames(one.names.all);
  state.views[at].setLabels(labels);
}

/** An edit that takes somebody's labels over into one's own, which are shown then. */
async function takeOver(state, at, operation) {
  await state.look("");
  if (state.whose) return;
  activate(state, at);
  const saved = await act(state, operation);
  if (saved && !saved.runs.length) notice("Nothing was taken over: there are labels of your own everywhere.");
}

function takeTools(state) {
  const region = state.region;
  const given = edits(state).given;
  if (!region || !state.may("annotator") || given?.known === "not") return null;
  const over = [0, ...names(state).all.map((one) => one.label)];
  return h("div", { class: "tools" }, h("button", { class: "small", "data-key": "take-region", title: "Over whatever you have there", onclick: () => takeOver(state, state.at, { op: "take_from", whose: state.whose, at: region.at, over }) }, `Take this ${names(state).of(region.label)} into my labels`));
}

const spread = (from, to) => (from === to ? `slice ${from}` : `slices ${from}–${to}`);

function classButtons(state, now, choose) {
  const { classes, organs } = names(state);
  const button = (known) => h("button", { class: "small", "data-key": `class-${known.label}`, title: `${known.long ?? known.name} (${known.label})`, "aria-pressed": String(known.label === now), onclick: () => choose(known.label) },
    h("span", { class: "swatch", tint: `rgb(${known.rgb})` }), known.name);
  const others = organs.slice(1);
  return [h("div", { class: "classes", role: "group", "aria-label": "Class" }, [...classes, ...organs.slice(0, 1)].map(button)),
    others.length ? h("details", { class: "organs", open: state.organs || others.some((one) => one.label === now), ontoggle: (event) => { state.organs = event.target.open; } }, h("summary", {}, "Other organs"), h("div", { class: "classes", role: "group", "aria-label": "Organ" }, others.map(button))) : null];
}

function regionTools(state) {
  const region = state.region;
  const came = state.case.labels;
  const cancel = state.merging ? h("button", { class: "small", "data-key": "merge-cancel", title: "Esc", onclick: () => cancelMerge(state) }, "Cancel merging") : null;
  if (!region && !regions(state).length && came.length) return h("p", { class: "muted" }, `Nothing is labelled yet. What came with the case (${came.join(", ")}) can be looked at, and taken over, by Labels of.`);
  if (!region) return [h("p", { class: "muted" }, "Choose a region, or draw one."), cancel];
  const at = region.at;
  const button = (text, key, onclick, title = "") => h("button", { class: "small", "data-key": key, onclick, title }, text);
  const others = state.case.images.map((image, index) => ({ image, index })).filter(({ index }) => index !== state.at);
  return [h("h2", {}, `Region: ${names(state).of(region.label)}`), classButtons(state, region.label, (label) => act(state, { op: "relabel", at, label })),
    h("div", { class: "tools" },
      button("Delete", "delete", () => act(state, { op: "delete", at }), "It becomes what it lies in"),
      button("Fill holes", "fill", () => act(state, { op: "fill", at, within: "volume" })),
      button("Fill slices", "fill-slices", () => act(state, { op: "fill", at, within: "slices" })),
      button("Grow", "grow", () => grow(state, region), "Within the liver, by the range of its own values, 10 mm at most"),
      button(state.merging ? "Merge with this" : "Merge with…", "merge", () => merge(state, region), "Then choose the other region"), cancel,
      button("Split here", "split", () => split(state, region), "At the slice of the crosshair"),
      others.filter(({ index }) => state.edits[index]).map(({ image, index }) => button(`Copy to ${image.phase ?? image.name}`, `copy-${index}`, () => copy(state, region, index)))),
    h("div", { class: "tools" }, button(`Mark slice (${state.marks.length})`, "mark", () => mark(state), "A contour to interpolate between"), state.marks.length > 1 ? button("Interpolate", "interpolate", () => interpolate(state)) : null,
      state.marks.length ? button("Clear marks", "marks-clear", () => { state.marks = []; state.redraw(); }) : null)];
}

function merge(state, region) {
  if (!state.merging) { state.merging = region; notice("Choose the region to merge with, then press Merge with this."); state.redraw(); return; }
  const first = state.merging;
  state.merging = null;
  if (first.at.join() !== region.at.join()) act(state, { op: "merge", at: first.at, with: region.at });
  else state.redraw();
}

function cancelMerge(state) {
  const hadFocus = document.activeElement?.dataset.key === "merge-cancel";
  state.merging = null;
  state.redraw();
  if (hadFocus) state.side.querySelector("[data-key=merge]")?.focus();
}

function split(state, region) {
  const [x, y, z] = view(state).nv.frac2mm(view(state).nv.scene.crosshairPos, 0, true);
  const normal = state.plane === "coronal" ? [0, 1, 0] : state.plane === "sagittal" ? [1, 0, 0] : [0, 0, 1];
  act(state, { op: "split_plane", at: region.at, point_ras_mm: [x, y, z], normal, label: region.label });
}

function grow(state, region) {
  const inside = names(state).liver;
  if (!regions(state).some((one) => inside.includes(one.label))) { notice("No liver is labelled here: draw one with the pen Liver, or take one over that came with the case.", "bad"); return; }
  const { labels } = view(state);
  const [nx, ny] = view(state).dims;
  const image = view(state).nv.volumes[0];
  const values = [];
  const [z0, z1] = [region.lo[0], region.hi[0]];
  for (let z = z0; z < z1 && values.length < 20000; z++) for (let y = region.lo[1]; y < region.hi[1]; y++) for (let x = region.lo[2]; x < region.hi[2]; x++) if (labels[(z * ny + y) * nx + x] === region.label) values.push(image.getValue(x, y, z));
  values.sort((a, b) => a - b);
  const at = (share) => values[Math.floor((values.length - 1) * share)];
  act(state, { op: "grow", at: region.at, label: region.label, hu: [at(0.1), at(0.9)], reach_mm: 10, inside });
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
    // The liver is drawn around what is in it, a finding within the liver.
    const isFinding = names(state).isFinding(state.pen);
    [over.hidden, stay.hidden] = [!isFinding, isFinding];
  };
  const size = h("input", { type: "range", id: "pen-size", min: 1, max: 31, step: 2, value: state.size, "aria-label": "Size of the pen", oninput: (event) => { state.size = Number(event.target.value); state.applyPen(); } });
  const box = (id, key) => h("input", { type: "checkbox", id, checked: state[key], onchange: (event) => { state[key] = event.target.checked; } });
  const [over, stay] = [h("label", { class: "check" }, box("only-liver", "over"), " Only within the liver"), h("label", { class: "check" }, box("findings-stay", "stay"), " Findings stay")];
  state.applyPen = () => views(state).forEach((shown) => { shown.setTool(state.tool === "look" ? "look" : "draw"); shown.setPen(state.tool === "erase" ? 0 : state.pen, state.tool === "fill" ? 1 : state.size, state.tool === "fill"); });
  state.setTool = (tool) => { state.tool = tool; state.applyPen(); drawTools(); };
  state.setPen = (label) => { state.pen = label; state.applyPen(); drawTools(); };
  state.setSize = (by) => { state.size = Math.min(31, Math.max(1, state.size + by)); size.value = state.size; state.applyPen(); };
  drawTools();
  return [tools, classes, h("label", { class: "row" }, h("span", {}, "Size"), size), over, stay];
}

function look(state) {
  const apply = () => views(state).forEach((shown) => shown.setLook(state.fill, state.boundary));
  const plane = h("div", { class: "segments", role: "group", "aria-label": "Plane" });
  state.setPlane = (value) => { state.plane = value; views(state).forEach((shown) => shown.setPlane(value)); drawPlanes(); };
  const drawPlanes = () => replace(plane, [["axial", "Axial"], ["coronal", "Coronal"], ["sagittal", "Sagittal"], ["all", "All"]].map(([value, text]) => h("button", { "aria-pressed": String(state.plane === value), onclick: () => state.setPlane(value) }, text)));
  drawPlanes();
  return [plane, h("label", { class: "row" }, h("span", {}, "Window"), windowChoice(state)),
    h("label", { class: "row" }, h("span", {}, "Fill"), h("input", { type: "range", min: 0, max: 100, value: 100 * state.fill, "aria-label": "Fill", oninput: (event) => { state.fill = event.target.value / 100; apply(); } })),
    h("label", { class: "check" }, h("input", { type: "checkbox", id: "boundary", checked: state.boundary, onchange: (event) => { state.boundary = event.target.checked; apply(); } }), " Boundary")];
}

/** The liver of each image as it was labelled, where it was; then the usual windows. */
function windowChoice(state) {
  const own = views(state).some((shown) => shown.own) ? [h("option", { value: "own" }, "Liver, this phase")] : [];
  const set = (event) => {
    const [, usual] = PRESETS[event.target.value] ?? PRESETS[0];
    views(state).forEach((shown) => shown.setWindow(event.target.value === "own" ? shown.own ?? usual : usual));
  };
  return h("select", { id: "window", onchange: set }, own, PRESETS.map(([name], at) => h("option", { value: at }, name)));
}

function readers(state) {
  const place = h("div", {});
  const [first, second] = [["first", "First"], ["second", "Second"]].map(([id, name]) => h("select", { id, "aria-label": name }));
  const compare = async () => {
    try {
      const found = await edits(state).compare(first.value, second.value);
      replace(place, h("p", {}, found.mean_dice === null ? "Both are empty." : `Mean Dice ${found.mean_dice.toFixed(3)}`), h("ul", { class: "plain" }, found.labels.map((one) => h("li", {}, `${names(state).of(one.label)}: ${one.dice.toFixed(3)}`))),
        h("div", { class: "lesions" }, found.disagreements.slice(0, 30).map((place) => h("button", { class: "lesion", onclick: () => views(state).forEach((shown) => shown.goTo(place.centre_ras_mm)) }, h("span", { class: "swatch", tint: names(state).tint(place.first || place.second) }), h("b", {}, `${names(state).of(place.first)} / ${names(state).of(place.second)}`), h("span", { class: "num" }, `${number(place.volume_cm3)} cm³`)))));
    } catch (error) { replace(place, problem(error)); }
  };
  const box = h("details", {}, h("summary", {}, "Compare readers"), h("div", { class: "row" }, first, second), h("button", { class: "small", onclick: compare }, "Compare"), place);
  // Anew when there is a further reader; what was chosen stays.
  state.fillReaders = () => {
    const known = whoHas(state.case).filter((name) => name !== "none");
    for (const [at, select] of [first, second].entries()) {
      const chosen = box.hidden ? "" : select.value;
      replace(select, known.map((name) => h("option", { value: name }, called(name))));
      select.value = chosen || known[at];
    }
    box.hidden = known.length < 2;
  };
  state.fillReaders();
  return box;
}

function history(state) {
  const place = h("div", {});
  const fill = async (event) => {
    if (!event.target.open) return;
    const told = await edits(state).history().catch((error) => { replace(place, problem(error)); return []; });
    replace(place, h("div", { class: "history", tabindex: "0", role: "region", "aria-label": "History of edits" }, h("ul", { class: "plain" }, told.slice(-60).reverse().map((entry) => h("li", {}, h("b", {}, edited(state, entry.what)), ` ${plural(entry.voxels, "voxel")}`, h("span", { class: "muted", title: time(entry.when) }, ` ${entry.reader}, ${entry.image}, ${ago(entry.when)}`))))));
  };
  return h("details", { ontoggle: fill }, h("summary", {}, "History"), place);
}

/** What an edit was, and of which class where it says so. */
function edited(state, { op, label }) {
  if (label === undefined) return words(op);
  if (op === "paint" && !label) return "erase";
  return `${words(op)}${op === "relabel" ? " to" : ""} ${names(state).of(label)}`;
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
  if (state.whose && ((event.ctrlKey || event.metaKey) || ["d", "e", "f", "i", "Delete", ..."123456789"].includes(key))) return;
  if ((event.ctrlKey || event.metaKey) && key === "z") { event.preventDefault(); step(state, event.shiftKey ? "redo" : "undo"); return; }
  if ((event.ctrlKey || event.metaKey) && key === "y") { event.preventDefault(); step(state, "redo"); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const shown = listed(state);
  const go = (by) => { if (!shown.length) return; const now = shown.indexOf(state.region); select(state, shown[(now + by + shown.length) % shown.length]); };
  const acts = {
    d: () => state.setTool("draw"), e: () => state.setTool("erase"), f: () => state.setTool("fill"), v: () => state.setTool("look"),
    n: () => go(1), p: () => go(-1), Delete: () => state.region && act(state, { op: "delete", at: state.region.at }), i: () => (state.marks.length > 1 ? interpolate(state) : mark(state)),
    "[": () => state.setSize(-2), "]": () => state.setSize(2), b: () => document.getElementById("boundary").click(),
    a: () => state.setPlane("axial"), c: () => state.setPlane("coronal"), s: () => state.setPlane("sagittal"), x: () => state.setPlane("all"),
    ArrowUp: () => stepAll(views(state), view(state), 1), ArrowDown: () => stepAll(views(state), view(state), -1),
  };
  if (state.merging) acts.Escape = () => cancelMerge(state);
  for (const { label } of names(state).all.filter((known) => known.label < 10)) acts[label] = () => (state.tool === "look" && state.region ? act(state, { op: "relabel", at: state.region.at, label }) : state.setPen(label));
  if (!acts[key]) return;
  if (event.target.matches?.("input[type=range], [role=region]") && key.startsWith("Arrow")) return;
  event.preventDefault();
  acts[key]();
}
