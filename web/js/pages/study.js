// One study: verdict, lesions, key images, phases, timings, files, messages, revisions.

import { get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { CLASSES, PHASES, VERDICTS, ago, number, plural, size, sliceName, span, time, words } from "../format.js";
import * as live from "../live.js";
import { bar, chip, confirm, empty, facts, notice, panel, sentence, stateChip, table } from "../parts.js";

export async function show(main, context) {
  const key = context.parts[0];
  let last = "";
  const draw = async () => {
    const study = await get(`/api/v1/studies/${encodeURIComponent(key)}`);
    replace(main, page(study, context));
    last = stateOf(study.jobs.at(-1));
  };
  await draw();
  // Only when this study's newest job has moved is the page drawn anew.
  const leave = live.subscribe((state) => {
    const job = state.jobs.find((job) => job.study_key === key);
    if (job && !state.lost && stateOf(job) !== last) { last = stateOf(job); draw().catch(() => {}); }
  });
  return leave;
}

/** Where a file of a result is fetched; its path keeps its folders. */
const fileOf = (study, report, path) =>
  `/api/v1/studies/${encodeURIComponent(study.study_key)}/${report.revision}/files/${path.split("/").map(encodeURIComponent).join("/")}`;

const stateOf = (job) => `${job.job} ${job.revision} ${job.state} ${job.attempts}`;

function page(study, context) {
  const { report } = study;
  const newest = study.jobs.at(-1);
  return [
    h("p", { class: "crumb" }, h("a", { href: "#/studies" }, "Studies"), " / study"),
    head(study, newest, context),
    newest.reason ? panel("Why", { class: "warn" }, h("p", {}, h("strong", {}, sentence(newest.reason.sentence ?? words(newest.reason.code))), " ", sentence(newest.reason.advice ?? "")), h("code", {}, newest.reason.code)) : null,
    report ? [
      h("div", { class: "columns wide-left" },
        h("div", {}, lesions(report, study), discarded(report), pictures(study, report)),
        h("div", {}, verdict(report), quality(study))),
      h("div", { class: "columns" },
        h("div", {}, phases(report), timings(report)),
        h("div", {}, files(study, report), trace(report))),
    ] : null,
    h("div", { class: "columns" }, messages(study), revisions(study)),
  ];
}

function head(study, newest, { may }) {
  const { report } = study;
  const requeue = async () => {
    if (!await confirm("Put it back into the queue?", "It is read again from its files and becomes the next revision.", "Put back")) return;
    try {
      await send("POST", `/api/v1/studies/${encodeURIComponent(study.study_key)}/requeue`);
      notice("The study waits again.", "ok");
    } catch (error) { notice(`${sentence(error.message)} ${sentence(error.next)}`, "bad"); }
  };
  const reported = study.reported.at(-1);
  return h("header", { class: "page-head study-head" },
    h("div", {},
      h("h1", {}, report ? VERDICTS[report.verdict]?.text ?? report.verdict : "No report"),
      h("p", { class: "key-line" }, h("code", {}, study.study_key), " ", stateChip(newest.state), h("span", { class: "muted" }, ` revision ${newest.revision} · complete ${time(newest.completed)}`))),
    h("div", { class: "actions" },
      study.can_requeue && may("annotator") ? h("button", { onclick: requeue, class: report ? "" : "primary" }, "Put back into the queue") : null,
      reported && study.has_files ? h("a", { class: "button primary", href: `#/view/${encodeURIComponent(study.study_key)}/${reported}` }, "Open in the viewer") : null));
}

function verdict(report) {
  const known = VERDICTS[report.verdict];
  const { base, high } = report.patient_class;
  const none = (name) => (name === "normal" ? "no lesion" : name);
  return panel("Verdict", { class: `verdict ${known?.tone ?? ""}` },
    h("p", { class: "verdict-word" }, chip(known, report.verdict)),
    facts([
      ["Base view", none(base)],
      ["High-sensitivity view", none(high)],
      ["Both views", report.paper_status === "decided" ? "agree" : "differ: worth a person's look"],
      ["Liver", `${number(report.liver_cm3, 0)} cm³`],
      ["Read for", words(report.setting)],
    ]),
    h("p", { class: "muted small-text" }, report.notice));
}

function quality(study) {
  if (!study.quality.length) return null;
  return panel("What may lower trust", { class: "warn" }, h("ul", { class: "plain" }, study.quality.map((flag) =>
    h("li", {}, h("strong", {}, sentence(flag.sentence ?? words(flag.code))), " ", h("span", { class: "muted" }, sentence(flag.advice ?? ""))))));
}

const swatch = (name) => {
  const known = CLASSES.find((one) => one.name === name);
  return h("span", { class: "swatch", tint: known ? `rgb(${known.rgb})` : "gray", "aria-hidden": "true" });
};

function lesions(report, study) {
  if (!report.lesions.length) return panel("Findings", empty("No lesion was kept."));
  const revision = report.revision;
  const row = (lesion) => {
    const hu = Object.entries(lesion.mean_hu).map(([phase, value]) => `${phase} ${number(value, 0)}`).join(", ");
    const place = study.has_files ? h("a", { href: `#/view/${encodeURIComponent(study.study_key)}/${revision}?lesion=${encodeURIComponent(lesion.id)}` }, lesion.id) : lesion.id;
    return h("tr", { class: lesion.malignant ? "malignant" : "" },
      h("td", { class: "num" }, place),
      h("td", {}, swatch(lesion.class), " ", lesion.class, lesion.malignant ? h("span", { class: "tag bad" }, "suspected") : null),
      h("td", { class: "num" }, number(lesion.volume_cm3)),
      h("td", { class: "num" }, number(lesion.max_axial_diameter_mm, 0)),
      h("td", { class: "num" }, number(lesion.max_diameter_mm, 0)),
      h("td", { title: lesion.key_slice ? `slice ${lesion.key_slice.slice ?? "–"} from the head, z ${number(lesion.key_slice.z_mm)} mm` : "" }, sliceName(lesion.key_slice?.instance_number, lesion.key_slice?.instance_number === undefined ? lesion.key_slice?.slice : null)),
      h("td", { class: "hu" }, hu),
      h("td", { class: "num" }, number(lesion.lesion_score[0], 2)),
      h("td", {}, words(lesion.view)),
      h("td", {}, words(lesion.reclassified.outcome)));
  };
  return panel("Findings", table([["No.", "num"], "Type", ["cm³", "num"], ["Axial mm", "num"], ["Longest", "num"], "Slice", "Mean HU", ["Score", "num"], "View", "Third stage"],
    report.lesions.map(row), "Findings"));
}

function discarded(report) {
  if (!report.discarded.length) return null;
  const row = (lesion) => h("tr", {}, h("td", {}, swatch(lesion.class), " ", lesion.class), h("td", { class: "num" }, number(lesion.volume_cm3)),
    h("td", { class: "num" }, number(lesion.max_diameter_mm, 0)), h("td", { class: "num" }, number(lesion.reclassified.score_cm3, 2)), h("td", {}, words(lesion.reclassified.outcome)));
  return h("details", { class: "panel" }, h("summary", {}, `Discarded: ${plural(report.discarded.length, "candidate")}`),
    table(["Type", ["cm³", "num"], ["Longest mm", "num"], ["Found again cm³", "num"], "Why"], report.discarded.map(row), "Discarded candidates"));
}

function pictures(study, report) {
  const shown = report.artefacts.filter((file) => file.path.endsWith(".png"));
  if (!shown.length || !study.has_files) return null;
  return panel("Key images", h("div", { class: "pictures" }, shown.map((file) => {
    const number = /lesion-(\d+)/.exec(file.path)?.[1];
    const alt = number ? `Finding ${Number(number)}` : "Overview of all findings";
    return h("button", { class: "picture", onclick: () => enlarge(fileOf(study, report, file.path), alt), "aria-label": `Enlarge: ${alt}` },
      h("img", { src: fileOf(study, report, file.path), alt: "", loading: "lazy" }), h("span", {}, alt));
  })));
}

function enlarge(src, alt) {
  const dialog = h("dialog", { class: "large", "aria-label": alt }, h("form", { method: "dialog" },
    h("img", { src, alt }), h("div", { class: "actions" }, h("button", { class: "primary" }, "Close"))));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function phases(report) {
  const row = (phase) => h("li", {}, h("strong", {}, PHASES[phase.phase] ?? phase.phase), h("span", { class: "muted" }, ` by ${words(phase.source)}, ${phase.confidence} confidence`),
    phase.alignment ? h("span", { class: "tag" }, words(phase.alignment.method)) : null, phase.images ? h("p", { class: "muted" }, sentence(phase.images)) : null);
  const series = report.series?.length ? h("details", {}, h("summary", {}, `All ${report.series.length} series`),
    table([["Series", "num"], ["Slices", "num"], ["mm", "num"], "Read as", "Why"], report.series.map((one) => h("tr", {},
      h("td", { class: "num" }, one.series_number ?? ""), h("td", { class: "num" }, one.slices), h("td", { class: "num" }, one.thickness_mm ?? ""), h("td", {}, one.chosen ?? ""), h("td", { class: "grow muted" }, one.why))), "Series")) : null;
  return panel("Phases", h("ul", { class: "phases" }, report.phases.map(row)), series,
    facts([["Grid", `${report.input.shape.toReversed().join(" × ")} voxels`], ["Spacing", `${report.input.spacing_mm.toReversed().map((mm) => mm.toFixed(2)).join(" × ")} mm`], ["Acquired", report.input.acquired?.replace("T", " ").slice(0, 16)]]));
}

function timings(report) {
  const most = Math.max(...report.timing.stages.map((stage) => stage.seconds), 0.001);
  return panel("Time", h("ul", { class: "stages" }, report.timing.stages.map((stage) => h("li", {},
    h("span", {}, words(stage.stage)), bar(stage.seconds / most, words(stage.stage)), h("span", { class: "num" }, stage.seconds < 10 ? `${stage.seconds.toFixed(1)} s` : span(stage.seconds))))),
  h("p", { class: "muted" }, `${span(report.timing.total_s)} altogether, ${number(report.peak_memory_mib, 0)} MiB of memory at most`));
}

function files(study, report) {
  if (!study.has_files) return panel("Files", empty("The files of this result are no longer kept."));
  const all = [{ path: "report.json", bytes: null }, ...report.artefacts.filter((file) => !file.path.endsWith(".png"))];
  return panel("Files", h("ul", { class: "plain files" }, all.map((file) => h("li", {}, h("a", { href: fileOf(study, report, file.path), download: "" }, file.path), h("span", { class: "muted num" }, file.bytes ? size(file.bytes) : "")))));
}

function trace(report) {
  return panel("Made with", facts([
    ["Program", `hepalert ${report.pipeline.version}`],
    ...report.engines.map((engine) => [words(engine.role), `${engine.id} version ${engine.version}, ${engine.backend}, ${engine.precision}`]),
    ["Lesion gain", `${report.pipeline.lesion_gain.base} and ${report.pipeline.lesion_gain.high}`],
    ["Fingerprint", h("code", {}, report.pipeline.fingerprint.slice(0, 16))],
    ["Another engine", report.engine_choice ? sentence(report.engine_choice.because) : null],
  ]));
}

function messages(study) {
  const row = (event) => h("tr", {}, h("td", { class: "num" }, event.seq), h("td", {}, event.topic.replace("event/", "")), h("td", {}, words(event.says)), h("td", {}, time(event.time)),
    h("td", {}, event.sent ? chip({ text: "Sent", tone: "ok" }) : chip({ text: event.attempts ? `Not sent, ${plural(event.attempts, "try", "tries")}` : "Not sent", tone: "warn" })));
  const answers = study.answers.map((answer) => h("li", {}, `${answer.role}: ${answer.opinion ?? "seen"}, ${time(answer.at)}`));
  return panel("Messages", study.events.length ? table([["No.", "num"], "Event", "Says", "When", "Broker"], study.events.map(row), "Messages") : empty("No message is kept of it."),
    answers.length ? [h("h3", {}, "Answers"), h("ul", { class: "plain" }, answers)] : null);
}

function revisions(study) {
  const row = (job) => h("tr", {}, h("td", { class: "num" }, job.revision), h("td", {}, stateChip(job.state)), h("td", { class: "num" }, job.attempts), h("td", { title: time(job.completed) }, ago(job.completed)), h("td", { title: time(job.finished) }, job.finished ? ago(job.finished) : ""),
    h("td", {}, study.reported.includes(job.revision) ? h("a", { href: `#/view/${encodeURIComponent(study.study_key)}/${job.revision}` }, "View") : ""));
  return panel("Revisions", table([["No.", "num"], "State", ["Attempts", "num"], "Complete", "Ended", "Result"], study.jobs.map(row), "Revisions"));
}
