// What waits, runs and has just ended, as it happens.

import { h, redraw, replace } from "../dom.js";
import { ago, plural, shortKey, span, time, words } from "../format.js";
import * as live from "../live.js";
import { bar, empty, keyLink, stateChip, table, timeLeft } from "../parts.js";

export function show(main) {
  const summary = h("p", { class: "muted" });
  const unread = h("p", { class: "muted" });
  const rows = h("div", { class: "queue" });
  replace(main, h("header", { class: "page-head" }, h("h1", {}, "Queue"), summary, unread), rows);
  const said = h("div", { class: "visually-hidden", role: "status", "aria-live": "polite" });
  main.append(said);
  const before = new Map();
  const draw = (state) => {
    const { counts, typical_s: typical } = state;
    replace(summary, [
      state.device.receiving.length ? plural(state.device.receiving.length, "study is coming in", "studies are coming in") : null,
      plural(counts.queued, "study waits", "studies wait"),
      counts.running ? "one is running" : "none is running",
      typical ? `one takes about ${span(typical)} here` : null,
    ].filter(Boolean).join(" · "));
    const { receiving, moving_files: moving, step } = state.device;
    replace(unread, moving ? `${plural(moving, "file is", "files are")} still being written or read.` : "");
    if (!state.jobs.length && !receiving.length) return replace(rows, empty("No study has come yet.", "Export one into the folder that the device watches."));
    announce([...receiving.map((study) => ({ ...study, job: study.study_key, state: "receiving" })), ...state.jobs], before, said);
    redraw(rows, table(["State", "Study", "Setting", "Complete", ["Attempts", "num"], "Progress"],
      [...receiving.map(coming), ...state.jobs.map((job) => line(job, step))], "Queue"));
  };
  const leave = live.subscribe(draw);
  return leave;
}

/** A study that is not complete: what is here of it. */
function coming(study) {
  return h("tr", { class: "job receiving", "data-state": "receiving" },
    h("td", {}, stateChip("receiving")),
    h("td", {}, h("span", { class: "key", title: study.study_key }, shortKey(study.study_key))),
    h("td", {}), h("td", { title: time(study.since) }, ago(study.since)), h("td", {}),
    h("td", { class: "grow" }, h("span", {}, `${plural(study.files, "file")} in ${plural(study.series, "series", "series")} so far`),
      h("span", { class: "muted" }, " · queued once it is complete")));
}

function line(job, step) {
  return h("tr", { class: `job ${job.state}`, "data-job": job.job, "data-state": job.state },
    h("td", {}, stateChip(job.state)),
    h("td", {}, keyLink(job.study_key), job.revision > 1 ? h("span", { class: "muted" }, ` r${job.revision}`) : null),
    h("td", {}, words(job.setting)),
    h("td", { title: time(job.completed) }, ago(job.completed)),
    h("td", { class: "num" }, job.attempts),
    h("td", { class: "grow" }, progress(job, job.state === "running" ? step : null)));
}

function progress(job, step) {
  if (job.state === "running") {
    return h("div", { class: "progress" },
      bar(step ? step.done / Math.max(1, step.total) : 0, `Stage ${words(step?.stage ?? "begins")}`),
      h("span", { class: "muted" }, [step ? words(step.stage) : "begins", timeLeft(job, step)].filter(Boolean).join(" · ")));
  }
  if (job.reason) return h("span", { title: job.reason.advice ?? "" }, job.reason.sentence ?? words(job.reason.code));
  if (job.state === "queued") return h("span", { class: "muted" }, job.left_s ? `done in about ${span(job.left_s)}` : "");
  if (job.started && job.finished) return h("span", { class: "muted" }, `took ${span((new Date(job.finished) - new Date(job.started)) / 1000)}`);
  return null;
}

/** For those who hear the page: what has changed, not all of it. */
function announce(jobs, before, said) {
  const first = before.size === 0;
  const news = jobs.filter((job) => before.get(job.job) !== job.state);
  for (const job of jobs) before.set(job.job, job.state);
  if (!first && news.length) replace(said, news.map((job) => `Study ${job.study_key.slice(0, 8)} is ${words(job.state)}. `));
}
