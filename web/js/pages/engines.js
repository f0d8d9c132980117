// The slots, what was done of late, and a new engine from an administrator.

import { get, send, upload } from "../api.js";
import { h, replace } from "../dom.js";
import { PHASES, plural, time, words } from "../format.js";
import { bar, chip, confirm, dismissible, empty, facts, notice, panel, problem, sentence, table } from "../parts.js";

const CONDITIONS = {
  unproven: ["Waits for its self-test", "calm"], staged: ["Ready", "calm"], probation: ["On probation", "warn"], good: ["Good", "ok"], bad: ["Failed here", "bad"],
};

export async function show(main, { may }) {
  const [slots, done] = [h("div", {}), h("div", {})];
  const draw = async () => {
    const engines = await get("/api/v1/engines");
    replace(slots, h("div", { class: "slots" }, configured(engines, may, draw), engines.slots.map((slot) => card(slot, engines, may, draw))),
      engines.wanted ? h("p", { class: "notice calm inline" }, "The daemon changes the engine once the study under way has ended.") : null);
    replace(done, history(engines));
    return engines;
  };
  const engines = await draw();
  // Made once: the file that was chosen, and what was said of it, outlast what is drawn anew.
  replace(main, h("header", { class: "page-head" }, h("h1", {}, "Engines")), slots, may("admin") ? install(engines, draw) : null, done);
  const timer = setInterval(() => draw().catch(() => {}), 10000);
  return () => clearInterval(timer);
}

function use(target, text, draw) {
  return h("button", { onclick: async () => {
    if (!await confirm("Use another engine?", `From the next study on: ${text}.`, "Use it")) return;
    try { await send("POST", "/api/v1/engines/use", { target }); await draw(); } catch (error) { notice(`${sentence(error.message)} ${sentence(error.next)}`, "bad"); }
  } }, "Use from the next study");
}

function configured({ configured: bundle, active }, may, draw) {
  return panel("Configured bundle", { class: active ? "" : "active", aside: active ? null : chip({ text: "In use", tone: "ok" }) },
    facts([["Engine", bundle.id ? `${bundle.id} version ${bundle.version}` : "cannot be opened"], ["Phases", bundle.phases.map((phase) => PHASES[phase] ?? phase).join(", ")], ["Made", bundle.created?.slice(0, 10)], ["Folder", h("code", {}, bundle.path)]]),
    active && may("admin") ? use("configured", bundle.id ?? "the configured bundle", draw) : null);
}

function card(slot, engines, may, draw) {
  const title = `Slot ${slot.name}`;
  const held = slot.holds;
  if (!held) return panel(title, empty("Empty."));
  const inUse = engines.active === slot.name;
  const [text, tone] = CONDITIONS[held.condition.is] ?? [words(held.condition.is), "calm"];
  const [studies, hours] = engines.probation;
  const usable = !inUse && ["staged", "good"].includes(held.condition.is);
  return panel(title, { class: inUse ? "active" : "", aside: inUse ? chip({ text: "In use", tone: "ok" }) : null },
    facts([["Engine", `${held.which.id} version ${held.which.version}`], ["Condition", h("span", {}, chip({ text, tone }), held.condition.code ? ` ${words(held.condition.code)}` : "")],
      ["Probation", held.condition.is === "probation" ? `${held.condition.studies} of ${studies} studies, since ${time(held.condition.since)} (${hours} h)` : null],
      ["Self-test", held.self_test ? `${held.self_test.passed ? "passed" : "failed"} ${time(held.self_test.at)}: ${held.self_test.words}` : "not yet"],
      ["Installed", time(held.at)], ["SHA-256", h("code", {}, held.which.sha256.slice(0, 16))]]),
    may("admin") ? h("div", { class: "actions left" }, usable ? use(slot.name, held.which.id, draw) : null, inUse ? use("before", "what was in use before", draw) : null) : null);
}

function install(engines, draw) {
  const file = h("input", { type: "file", id: "package", accept: ".hepengine" });
  const again = h("input", { type: "checkbox", id: "again" });
  const told = h("div", { role: "status" });
  const button = h("button", { class: "primary" }, "Check and install");
  const submit = async (event) => {
    event.preventDefault();
    if (!file.files[0]) { replace(told, h("p", { class: "muted" }, "Choose a .hepengine file first.")); return; }
    told.setAttribute("aria-busy", "true");
    button.disabled = true;
    try {
      const taken = await upload(`/api/v1/engines${again.checked ? "?again=true" : ""}`, file.files[0], (share) =>
        replace(told, bar(share, "Upload"), h("p", { class: "muted" }, share < 1 ? "Sending…" : "Checking signatures and files…")));
      told.removeAttribute("aria-busy");
      replace(told);
      notice(`${taken.id} version ${taken.version} is in slot ${taken.slot}. The daemon tests it and then uses it, on probation.`, "ok");
      await draw();
    } catch (error) { replace(told, dismissible(problem(error))); }
    told.removeAttribute("aria-busy");
    button.disabled = false;
  };
  const keys = engines.trusted_keys
    ? `${plural(engines.trusted_keys, "maker's key is", "makers' keys are")} trusted here; an engine needs ${plural(engines.signatures_needed, "signature")}.`
    : "No maker's key is trusted here: nothing can be installed until one lies in engine.trusted_keys.";
  return panel("Install an engine", h("form", { class: "install", onsubmit: submit },
    h("p", { class: "muted" }, `${keys} The engine in use stays until the new one has passed its self-test.`),
    h("div", { class: "install-row" }, h("label", { for: "package" }, "Packed engine"), file, h("label", { class: "check" }, again, " take one that failed here before"), button), told));
}

function history(engines) {
  const row = (note) => h("tr", {}, h("td", {}, time(note.at)), h("td", {}, words(note.action)), h("td", {}, note.which ? `${note.which.id} version ${note.which.version}` : ""), h("td", {}, words(note.code ?? "")));
  return panel("What was done", engines.history.length ? table(["When", "What", "Engine", "Why"], engines.history.map(row), "History of engines") : empty("No engine was installed here yet."));
}
