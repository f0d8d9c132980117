// The device in one look, and what doctor finds.

import { get } from "../api.js";
import { h, redraw, replace } from "../dom.js";
import { ago, clock, plural, time, words } from "../format.js";
import * as live from "../live.js";
import { bar, chip, empty, facts, keyLink, panel, problem, ended, sentence, stateChip, timeLeft } from "../parts.js";

export async function show(main, { session }) {
  const head = h("header", { class: "page-head" }, h("h1", {}, session.device), h("div", { class: "head-state" }));
  const attention = h("div", { class: "attention" });
  const figures = h("div", { class: "figures" });
  const now = h("div", {});
  const engine = h("div", {});
  const line = h("div", {});
  const checks = h("div", {}, h("p", { class: "muted" }, "Looking at the device…"));
  const again = h("button", { class: "quiet small", onclick: () => look(checks) }, "Check again");
  replace(main, head, attention, figures, h("div", { class: "columns" },
    h("div", {}, panel("Now", now), panel("Engine in use", engine), panel("Broker and machine", line)),
    panel("Checks", { aside: again }, checks)));

  let stopped = false;
  let known = "";
  const draw = async () => {
    const seen = await get("/api/v1/overview").catch((error) => error);
    if (stopped) return;
    if (seen instanceof Error) return replace(attention, problem(seen));
    known = drawnOf(seen.counts, seen.pulse);
    drawDevice(head, attention, figures, seen);
    drawEngine(engine, seen.pulse);
    drawLine(line, seen);
  };
  await draw();
  const leave = live.subscribe((state) => {
    drawNow(now, state);
    // Most events are steps of the analysis, of which the rest of this page shows nothing.
    const seen = drawnOf(state.counts, state.device);
    if (state.lost || seen === known) return;
    known = seen;
    draw();
  });
  look(checks);
  const timer = setInterval(draw, 15000);
  return () => { stopped = true; clearInterval(timer); leave(); };
}

/** All of an event that is drawn from the overview. */
const drawnOf = (counts, { state, reasons, broker, engines, self_test: test }) => JSON.stringify([counts, state, reasons, broker.connected, broker.last_error, engines, test]);

function drawDevice(head, attention, figures, { pulse, reasons, counts, disk, version }) {
  replace(head.querySelector(".head-state"), stateChip(pulse.state),
    h("span", { class: "muted" }, `since ${time(pulse.since)} · version ${version} · run ${pulse.boot}`));
  replace(attention, reasons.length ? panel("What needs attention", { class: "warn" }, h("ul", { class: "plain" },
    reasons.map((reason) => h("li", {}, h("strong", {}, sentence(reason.sentence)), " ", sentence(reason.advice), " ", h("code", {}, reason.code))))) : null);
  const low = disk.free_mib !== null && disk.free_mib < 2 * disk.least_mib;
  const free = disk.free_mib === null ? "–" : disk.free_mib > 10240 ? `${(disk.free_mib / 1024).toFixed(0)} GiB` : `${disk.free_mib} MiB`;
  const figure = (value, name, tone, href) => h(href ? "a" : "div", { class: `figure ${tone ?? ""}`, href }, h("b", {}, value), h("span", {}, name));
  redraw(figures,
    figure(counts.queued + counts.running, "in the queue", "", "#/queue"),
    figure(counts.open_alerts, "alerts not acknowledged", counts.open_alerts ? "bad" : "", "#/studies?verdict=suspected,uncertain"),
    figure(counts.done, "studies done", "", "#/studies?state=done"),
    figure(counts.rejected + counts.dead, "refused or failed", counts.dead ? "warn" : "", "#/studies?state=rejected,dead"),
    figure(counts.unsent, "messages not sent", counts.unsent ? "warn" : ""),
    figure(free, "free in the store", low ? "warn" : ""));
}

function drawNow(place, state) {
  const running = state.jobs.find((job) => job.state === "running");
  const step = state.device.step;
  const [coming] = state.device.receiving;
  if (!running && !step && coming) return replace(place, h("div", { class: "now" }, h("div", { class: "now-line" }, h("a", { href: "#/queue" }, state.device.receiving.length > 1 ? `${state.device.receiving.length} studies are coming in` : "A study is coming in"),
    h("span", { class: "muted" }, `${plural(coming.files, "file")} so far`))));
  if (!running && !step) return replace(place, empty("Nothing is running.", "The device waits for studies in the export folder."));
  replace(place, h("div", { class: "now" },
    h("div", { class: "now-line" }, running ? keyLink(running.study_key) : h("span", {}, "Self-test of the engine"),
      h("span", { class: "muted" }, step ? words(step.stage) : "begins"),
      timeLeft(running, step) ? h("span", { class: "right" }, timeLeft(running, step)) : null),
    step ? bar(step.done / Math.max(1, step.total), `Stage ${words(step.stage)}`) : null));
}

function drawEngine(place, pulse) {
  if (!pulse.engines.length) return replace(place, empty("No engine is loaded yet."));
  const test = pulse.self_test;
  replace(place, facts([
    ...pulse.engines.map((used) => [used.role === "segment" ? "First stage" : used.role === "reclassify" ? "Third stage" : words(used.role),
      h("span", {}, `${used.id} `, h("span", { class: "muted" }, `version ${used.version}`))]),
    ["Self-test", test ? h("span", {}, chip({ text: test.passed ? "Passed" : "Failed", tone: test.passed ? "ok" : "bad" }), " ", h("span", { class: "muted" }, ago(test.at))) : "not yet"],
  ]));
}

function drawLine(place, seen) {
  const { broker } = seen.pulse;
  const hottest = seen.temperatures_c.reduce((most, [, degrees]) => Math.max(most, degrees), -Infinity);
  replace(place, facts([
    ["Broker", h("span", {}, chip({ text: broker.connected ? "Connected" : "No connection", tone: broker.connected ? "ok" : "bad" }), ` ${seen.broker}`)],
    ["Last failure", broker.connected ? null : broker.last_error],
    ["Export folder", h("code", {}, seen.export_folder)],
    ["Results are kept", seen.disk.keep_days ? plural(seen.disk.keep_days, "day") : "for ever"],
    ["Memory of the daemon", seen.memory_mib ? `${seen.memory_mib.toFixed(0)} MiB` : null],
    ["Hottest part", Number.isFinite(hottest) ? `${hottest.toFixed(0)} °C` : null],
    ["Clock", seen.clock_synced ? "set by a time server" : null],
  ]));
}

async function look(place) {
  place.setAttribute("aria-busy", "true");
  try {
    const { checks } = await get("/api/v1/checks");
    const order = { fail: 0, warn: 1, ok: 2 };
    const tones = { ok: ["OK", "ok"], warn: ["Look", "warn"], fail: ["Fails", "bad"] };
    checks.sort((a, b) => order[a.level] - order[b.level]);
    replace(place, h("ul", { class: "checks" }, checks.map((check) => {
      const [text, tone] = tones[check.level];
      return h("li", { class: check.level }, chip({ text, tone }), h("div", {}, h("strong", {}, check.name),
        h("p", {}, ended(check.finding)), check.advice ? h("p", { class: "advice" }, sentence(check.advice)) : null));
    })), h("p", { class: "muted small-text" }, `As hepalert doctor --quick has it, at ${clock(new Date())}.`));
  } catch (error) {
    replace(place, problem(error));
  }
  place.removeAttribute("aria-busy");
}
