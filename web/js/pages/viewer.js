// The viewer: one to four phases with one crosshair, lesions in every view and at any gain.

import { bytes, get } from "../api.js";
import { h, replace } from "../dom.js";
import { CLASSES, PHASES, number, plural, sliceName, words } from "../format.js";
import { bar, problem } from "../parts.js";
import { Layers } from "../viewer/layers.js";
import { DRAWN, View, breathe, stepAll, tie } from "../viewer/view.js";
import { firstWindow, windowsOf } from "../viewer/windows.js";

const LAYERS = [["final", "Findings", "kept after the third stage"], ["base", "Base view", "lesion gain as trained"], ["high", "High-sensitivity view", "more is seen, more is false"],
  ["discarded", "Discarded", "seen by the first stage, not kept"], ["gain", "By lesion gain", "any sensitivity, live"], ["none", "None", ""]];
const KEYS = [["↑ ↓ or wheel", "slices"], ["n p", "next and previous finding"], ["1 to 5", "layer"], ["b", "boundary"], ["o", "organs"], ["m", "measure"], ["a c s x", "axial, coronal, sagittal, all"], ["+ − 0", "zoom"], ["right drag", "window"]];

export async function show(main, { parts, query }) {
  const [key, revision] = parts;
  const base = `/api/v1/studies/${encodeURIComponent(key)}/${encodeURIComponent(revision)}`;
  const stage = h("div", { class: "stage", "aria-busy": "true" }, h("p", { class: "loading" }, "Preparing the study…"));
  const side = h("aside", { class: "viewer-side", "aria-label": "Viewer controls" });
  replace(main, h("h1", { class: "visually-hidden" }, "Viewer"), h("div", { class: "viewer" }, side, stage));
  const state = { layer: "final", step: 0, organs: false, fill: 0.25, boundary: true, plane: "axial", tool: "look", lesion: -1, views: [], layers: [], turn: 0, drawn: 0, gone: false, active: null };
  const leave = () => { state.gone = true; state.views.forEach((view) => view.close()); removeEventListener("keydown", state.keys); };
  try {
    const scene = await get(`${base}/scene`);
    if (state.gone) return leave;
    state.scene = scene;
    state.step = Math.round(100 * Math.log10(scene.gains[0]));
    state.stage = stage;
    const ui = controls(side, state, key);
    ui.addOther = (other, title) => addOther(other, title, state, base, ui);
    await load(stage, state, base, ui);
    if (state.gone) return leave;
    const asked = scene.lesions.findIndex((lesion) => String(lesion.id) === query.get("lesion"));
    if (asked >= 0 || scene.lesions.length) ui.jump(Math.max(0, asked));
    state.keys = (event) => press(event, state, ui);
    addEventListener("keydown", state.keys);
    stage.removeAttribute("aria-busy");
    stage.dataset.ready = "true";
  } catch (error) {
    stage.removeAttribute("aria-busy");
    delete stage.dataset.count;
    replace(stage, h("div", { class: "stopped" }, problem(error), h("div", { class: "actions left" }, h("a", { class: "button", href: `#/studies/${encodeURIComponent(key)}` }, "Back to the study"))));
    if (!side.childElementCount) { side.remove(); stage.parentElement.classList.add("halted"); }
    console.error(error);
  }
  return leave;
}

/** Beside each other no more is seen of a phase than of four. */
const MOST = 4;

async function load(stage, state, base, ui) {
  stage.replaceChildren();
  const cells = state.scene.phases.map((phase) => cellOf(stage, PHASES[phase.phase] ?? phase.phase, phase.phase, phase));
  count(stage);
  const coming = Promise.all(cells.map((cell) => voxels(base, cell)));
  // Meanwhile the canvases are made ready, one after the other.
  for (const cell of cells) {
    if (state.gone) break;
    await cell.view.attach();
    await breathe();
  }
  const loaded = await coming.finally(() => { if (state.gone) cells.forEach((cell) => cell.view.close()); });
  for (const [at, cell] of cells.entries()) {
    if (state.gone) return;
    await draw(cell, loaded[at], state, base);
    await breathe();
  }
  tie(state.views);
  activate(state, active(state));
  await ui.redraw();
  ui.look();
  ui.fillWindows();
}

const count = (stage) => { stage.dataset.count = stage.childElementCount; };

/** The place of a CT, before it is there. */
function cellOf(stage, title, name, phase, note = null) {
  const told = h("span", { class: "read-out" });
  const canvas = h("canvas", { "aria-label": `CT, ${title}`, role: "img", tabindex: "0" });
  const progress = h("div", { class: "loading" }, h("span", {}, `Loading ${title}`), bar(0, "Loading"));
  const breath = phase?.alignment && !["reference", "already_aligned"].includes(phase.alignment) ? h("span", { class: "muted", title: "Drawn by patient coordinates; breathing is not undone here." }, "own breath") : null;
  const figure = h("figure", { class: "cell" }, h("figcaption", {}, h("b", {}, title), breath ?? note, told), canvas, progress);
  stage.append(figure);
  return { phase, told, canvas, progress, figure, view: new View(canvas, name) };
}

const voxels = (base, { phase, progress }) => bytes(`${base}/image/${encodeURIComponent(phase.phase)}`, (share) => progress.querySelector(".bar-fill").style.setProperty("width", `${Math.round(100 * share)}%`));

async function draw({ phase, told, progress, view }, data, state, base) {
  await view.load(data, firstWindow(phase));
  for (const event of ["pointerdown", "focus"]) view.canvas.addEventListener(event, () => activate(state, view));
  view.windows = windowsOf(phase);
  view.told = told;
  view.instances = phase.instances ?? [];
  view.moved = () => readOut(view, state);
  view.plane = state.plane;
  state.views.push(view);
  state.layers.push(new Layers(base, phase.phase));
  progress.remove();
  return view;
}

/** A series that was not read, beside what was. */
async function addOther(other, title, state, base, ui) {
  const { stage } = state;
  const cell = cellOf(stage, title, other.name, null, h("span", { class: "muted", title: other.why }, "not read"));
  count(stage);
  try {
    const scene = get(`${base}/scene/${encodeURIComponent(other.name)}`);
    const [phase] = await Promise.all([scene, cell.view.attach()]);
    cell.phase = phase;
    const data = await voxels(base, cell);
    if (state.gone) return cell.view.close();
    const view = await draw(cell, data, state, base);
    view.setTool(state.tool);
    if (state.plane !== "axial") view.setPlane(state.plane);
    tie(state.views);
    await ui.redraw();
    ui.look();
    view.goTo(active(state).place());
    activate(state, active(state));
  } catch (error) {
    if (!state.views.includes(cell.view)) cell.view.close();
    cell.figure.remove();
    count(stage);
    throw error;
  }
}

function removeOther(other, state) {
  const at = state.views.findIndex((view) => view.phase === other.name);
  if (at < 0) return;
  const [view] = state.views.splice(at, 1);
  state.layers.splice(at, 1);
  view.close();
  view.canvas.closest(".cell").remove();
  count(state.stage);
  tie(state.views);
  activate(state, active(state));
}

/** The phase that keys step: the one last pointed at, and at first the one the study is read by. */
const active = (state) => state.views.find((view) => view === state.active) ?? state.views.find((view) => view.phase === state.scene.reference) ?? state.views[0];

function activate(state, view) {
  state.active = view;
  for (const { canvas } of state.views) canvas.closest(".cell").classList.toggle("active", canvas === view.canvas && state.views.length > 1);
}

function readOut(view, state) {
  const [x, y, z] = view.voxel();
  const [nx, ny] = view.dims;
  const label = view.labels?.[(z * ny + y) * nx + x] ?? 0;
  const name = DRAWN.find((one) => one.label === label)?.name ?? "";
  const hu = view.hu();
  replace(view.told, `${view.slice()} · ${Number.isFinite(hu) ? Math.round(hu) : "–"} HU`, name ? ` · ${name}` : "");
}

function controls(side, state, key) {
  const { scene } = state;
  const ui = {};
  ui.redraw = async () => {
    const mine = ++state.turn;
    const { layer, organs } = state;
    const shown = state.views.map((view, at) => [view, state.layers[at]]);
    const loaded = await Promise.all(shown.map(([, layers]) => layers.load(layer, organs)));
    // While it was loading something else may have been chosen: that alone is drawn.
    if (state.gone || mine !== state.turn) return;
    loaded.forEach((parts, at) => {
      const [view, layers] = shown[at];
      if (!state.views.includes(view)) return;
      if (!view.labels) view.nv.createEmptyDrawing();
      layers.draw(view.labels, parts, state.step);
      view.refresh();
      readOut(view, state);
    });
    state.drawn = mine;
    side.dataset.layer = layer;
  };
  ui.look = () => state.views.forEach((view) => view.setLook(state.fill, state.boundary));
  ui.jump = (at) => {
    if (!scene.lesions.length) return;
    state.lesion = (at + scene.lesions.length) % scene.lesions.length;
    lookAt(state, scene.lesions[state.lesion]);
    side.querySelectorAll(".lesion").forEach((row, index) => row.setAttribute("aria-pressed", String(index === state.lesion)));
  };
  const layers = layerChoice(state, ui);
  const gain = gainSlider(state, ui);
  replace(side,
    h("p", { class: "crumb" }, h("a", { href: `#/studies/${encodeURIComponent(key)}` }, "Back to the study")),
    h("section", { "aria-label": "Findings" }, h("h2", {}, "Findings"), lesionList(scene, ui), discardedList(scene, state)),
    h("section", { "aria-label": "Layers" }, h("h2", {}, "Layers"), layers, gain, legend()),
    h("section", { "aria-label": "Series" }, h("h2", {}, "Series"), seriesList(state, ui)),
    h("section", { "aria-label": "Look" }, h("h2", {}, "Look"), look(state, ui)),
    h("section", { "aria-label": "View" }, h("h2", {}, "View"), planes(state, ui)),
    h("details", {}, h("summary", {}, "Keys"), h("dl", { class: "key-help" }, KEYS.map(([keys, what]) => h("div", {}, h("dt", {}, keys), h("dd", {}, what))))),
    h("p", { class: "muted small-text" }, scene.notice));
  return ui;
}

/** The slice that the list names, which shows most of it; the middle of a crescent lies in another. */
function lookAt(state, lesion) {
  const at = state.scene.phases.findIndex((phase) => phase.phase === state.scene.reference);
  const reference = state.views[at];
  let place = lesion.centre_ras_mm;
  if (reference && lesion.slice) {
    const [x, y] = reference.voxelAt(place);
    place = reference.goToVoxel([x, y, reference.dims[2] - lesion.slice]);
  }
  for (const view of state.views) if (view !== reference || !lesion.slice) view.goTo(place);
}

function lesionList(scene, ui) {
  if (!scene.lesions.length) return h("p", { class: "muted" }, "No lesion was kept.");
  return h("div", { class: "lesions" }, scene.lesions.map((lesion, at) => h("button", { class: "lesion", "aria-pressed": "false", onclick: () => ui.jump(at) },
    h("span", { class: "swatch", tint: `rgb(${CLASSES[lesion.label - 1].rgb})` }),
    h("b", {}, `${lesion.id} ${lesion.class}`), lesion.malignant ? h("span", { class: "tag bad" }, "suspected") : h("span", { class: "tag" }, "benign type"),
    h("span", { class: "size" }, `${number(lesion.volume_cm3)} cm³, longest ${number(lesion.max_diameter_mm, 0)} mm, ${sliceName(lesion.instance, lesion.slice) || `seen in ${words(lesion.view)}`}`))));
}

function discardedList(scene, state) {
  if (!scene.discarded.length) return null;
  return h("details", {}, h("summary", {}, `${scene.discarded.length} discarded`), h("div", { class: "lesions" }, scene.discarded.map((lesion) =>
    h("button", { class: "lesion", onclick: () => lookAt(state, lesion) },
      h("span", { class: "swatch", tint: `rgb(${CLASSES[lesion.label - 1].rgb})` }), h("b", {}, lesion.class), h("span", { class: "tag" }, words(lesion.outcome)),
      h("span", { class: "num" }, `${number(lesion.volume_cm3)} cm³`)))));
}

/** What was read, what was not and can be looked at beside it, and what is not there. */
function seriesList(state, ui) {
  const { phases, others, absent, set_aside: aside } = state.scene;
  const names = (codes) => codes.map((code) => PHASES[code] ?? code).join(", ");
  const told = h("div", { role: "status" });
  const boxes = [];
  const free = () => boxes.forEach((box) => { box.disabled = state.adding || (!box.checked && state.views.length >= MOST); });
  const row = (other) => {
    const title = [other.phase ? PHASES[other.phase] : "No phase", other.series_number === null ? null : `series ${other.series_number}`].filter(Boolean).join(", ");
    const box = h("input", { type: "checkbox", id: other.name, onchange: async () => {
      told.replaceChildren();
      if (!box.checked) { removeOther(other, state); return free(); }
      state.adding = true;
      free();
      try { await ui.addOther(other, title); } catch (error) { box.checked = false; if (!state.gone) replace(told, problem(error)); }
      state.adding = false;
      free();
    } });
    boxes.push(box);
    return h("label", { class: "other", title: other.why }, box, h("span", {}, ` ${title}`, h("span", { class: "muted small-text" }, `${plural(other.slices, "slice")}: ${other.why.split(";")[0]}`)));
  };
  return [h("p", { class: "small-text" }, `Read: ${names(phases.map(({ phase }) => phase))}`),
    others.length ? h("div", { class: "choices", role: "group", "aria-label": "Series that were not read" }, others.map(row)) : null,
    absent.length ? h("p", { class: "muted small-text" }, `Not available, for the study has no such series: ${names(absent)}`) : null,
    aside ? h("p", { class: "muted small-text" }, `Not available: ${plural(aside, "further file")} of the study that ${aside === 1 ? "was" : "were"} not read. Only the names of files that were read are kept.`) : null, told];
}

function layerChoice(state, ui) {
  const choose = async (name) => { state.layer = name; ui.gain?.hidden(name !== "gain"); await ui.redraw(); };
  ui.choose = (name) => { const radio = document.getElementById(`layer-${name}`); if (radio && !radio.disabled) { radio.checked = true; choose(name); } };
  return h("div", { class: "choices", role: "radiogroup", "aria-label": "Layer of lesions" }, LAYERS.map(([name, text, hint]) => {
    const off = name === "gain" && !state.scene.has_gains;
    return h("label", { class: off ? "off" : "", title: off ? "This result was made without gains.nii.gz (web.keep_gains)." : hint },
      h("input", { type: "radio", name: "layer", id: `layer-${name}`, checked: name === state.layer, disabled: off, onchange: () => choose(name) }), ` ${text}`);
  }));
}

function legend() {
  return h("details", { class: "legend" }, h("summary", {}, "Colours"), h("ul", { class: "plain" }, DRAWN.map(({ name, long, rgb }) => h("li", { title: long }, h("span", { class: "swatch", tint: `rgb(${rgb})` }), ` ${name}`))));
}

/** Eq. (3), live: lesion probabilities times alpha, then the best class. */
function gainSlider(state, ui) {
  const { gains } = state.scene;
  const told = h("output", { for: "alpha" });
  const tell = () => {
    const alpha = 10 ** (state.step / 100);
    told.textContent = alpha >= 100 ? alpha.toFixed(0) : alpha >= 1 ? alpha.toFixed(2) : alpha.toPrecision(2);
  };
  const move = async (step) => {
    state.step = step;
    tell();
    slider.value = step;
    // What is on the screen is not yet, or not any more, what was chosen.
    if (state.drawn !== state.turn) return ui.redraw();
    state.views.forEach((view, at) => {
      state.layers[at].moveGain(view.labels, step);
      view.refresh();
      readOut(view, state);
    });
  };
  const slider = h("input", { type: "range", id: "alpha", min: -200, max: 400, step: 1, value: state.step, "aria-label": "Lesion gain alpha", oninput: (event) => move(Number(event.target.value)) });
  const share = (gain) => (100 * (100 * Math.log10(gain) + 200)) / 600;
  const isClose = Math.abs(share(gains[1]) - share(gains[0])) < 28;
  const at = (gain, text) => h("button", { type: "button", class: `quiet small${gain === gains[1] ? " upper" : ""}`, "at%": share(gain), onclick: () => move(Math.round(100 * Math.log10(gain))) }, text);
  const box = h("div", { class: "gain", hidden: true }, h("label", { for: "alpha" }, "Lesion gain α ", told), slider,
    h("div", { class: `gain-marks${isClose ? " close" : ""}` }, h("span", {}, "0.01"), at(gains[0], `base ${gains[0]}`), at(gains[1], `high ${gains[1]}`), h("span", {}, "10⁴")),
    h("p", { class: "muted small-text" }, "First stage alone: a voxel is a lesion where α times its lesion probability is the largest."));
  ui.gain = { hidden: (is) => { box.hidden = is; } };
  tell();
  return box;
}

function look(state, ui) {
  const boundary = h("input", { type: "checkbox", id: "boundary", checked: state.boundary, onchange: (event) => { state.boundary = event.target.checked; ui.look(); } });
  const organs = h("input", { type: "checkbox", id: "organs", onchange: (event) => { state.organs = event.target.checked; ui.redraw(); } });
  const fill = h("input", { type: "range", id: "fill", min: 0, max: 100, value: 100 * state.fill, "aria-label": "Fill", oninput: (event) => { state.fill = event.target.value / 100; ui.look(); } });
  const window = h("select", { id: "window", "aria-label": "Window", onchange: (event) => ui.setWindow(event.target.value) });
  ui.fillWindows = () => replace(window, state.views[0].windows.map(([name, [centre, width]], at) => h("option", { value: at }, state.views.length > 1 && at < state.views[0].windows.length - 4 ? name : `${name} (${centre}/${width})`)));
  // Each phase has its own liver: the same name, other numbers.
  ui.setWindow = (at) => state.views.forEach((view) => { const name = state.views[0].windows[at][0]; const found = view.windows.find(([other]) => other === name); if (found) view.setWindow(found[1]); });
  return [h("label", { class: "row" }, h("span", {}, "Window"), window), h("label", { class: "row" }, h("span", {}, "Fill"), fill),
    h("div", { class: "row" }, h("label", { class: "check" }, boundary, " Boundary"), h("label", { class: "check" }, organs, " Organs"))];
}

function planes(state, ui) {
  const group = (name, items, now, act) => h("div", { class: "segments", role: "group", "aria-label": name }, items.map(([value, text]) =>
    h("button", { "aria-pressed": String(value === now), "data-value": value, onclick: () => act(value) }, text)));
  const press = (box, value) => box.querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.value === value)));
  const plane = group("Plane", [["axial", "Axial"], ["coronal", "Coronal"], ["sagittal", "Sagittal"], ["all", "All"]], state.plane, (value) => ui.plane(value));
  const tool = group("Left button", [["look", "Crosshair"], ["measure", "Measure"], ["pan", "Pan"]], state.tool, (value) => ui.tool(value));
  ui.plane = (value) => { state.plane = value; state.views.forEach((view) => view.setPlane(value)); press(plane, value); };
  ui.tool = (value) => { state.tool = value; state.views.forEach((view) => view.setTool(value)); press(tool, value); };
  return [plane, tool, h("div", { class: "row" }, h("button", { class: "small", onclick: () => state.views.forEach((view) => view.clearMeasures()) }, "Clear measures"), h("button", { class: "small", onclick: () => state.views.forEach((view) => view.zoom(0)) }, "Whole image"))];
}

function press(event, state, ui) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("select, input[type=range], input[type=radio]")) return;
  const go = (by) => stepAll(state.views, active(state), by);
  const acts = {
    ArrowUp: () => go(1), ArrowDown: () => go(-1), PageUp: () => go(5), PageDown: () => go(-5),
    n: () => ui.jump(state.lesion + 1), p: () => ui.jump(state.lesion - 1),
    b: () => document.getElementById("boundary").click(), o: () => document.getElementById("organs").click(),
    m: () => ui.tool(state.tool === "measure" ? "look" : "measure"), a: () => ui.plane("axial"), c: () => ui.plane("coronal"), s: () => ui.plane("sagittal"), x: () => ui.plane("all"),
    "+": () => state.views.forEach((view) => view.zoom(1.25)), "=": () => state.views.forEach((view) => view.zoom(1.25)), "-": () => state.views.forEach((view) => view.zoom(0.8)), 0: () => state.views.forEach((view) => view.zoom(0)),
  };
  LAYERS.slice(0, 5).forEach(([name], at) => { acts[at + 1] = () => ui.choose(name); });
  const act = acts[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}
