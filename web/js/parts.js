// Pieces that several pages are made of.

import { h } from "./dom.js";
import { STATES, VERDICTS, shortKey, span } from "./format.js";

/** A word with a mark: the shape tells as much as the colour. */
export function chip(known, fallback) {
  const { text, tone } = known ?? { text: fallback, tone: "calm" };
  return h("span", { class: `chip ${tone}` }, text);
}

export const stateChip = (state) => chip(STATES[state], state);
export const verdictChip = (verdict) => (verdict ? chip(VERDICTS[verdict], verdict) : h("span", { class: "none" }, "no report"));

/** The whole key for search and copying, shortened to the eye. */
export function keyLink(key, tail = "") {
  return h("a", { class: "key", href: `#/studies/${encodeURIComponent(key)}${tail}`, title: key, "data-key": `key-${key}` }, shortKey(key));
}

export function panel(title, ...children) {
  const options = children[0]?.constructor === Object ? children.shift() : {};
  return h("section", { class: `panel ${options.class ?? ""}`, "aria-label": title },
    h("header", { class: "panel-head" }, h("h2", {}, title), options.aside), children);
}

/** What is refused or failed, said where it happened. */
export function problem(error) {
  return h("div", { class: "problem", role: "alert" },
    h("strong", {}, sentence(error.message)), h("p", {}, sentence(error.next ?? "")),
    error.code ? h("code", {}, error.code) : null);
}

export function empty(text, hint = "") {
  return h("div", { class: "empty" }, h("p", {}, text), hint ? h("p", { class: "muted" }, hint) : null);
}

/** What is no name begins with a capital: names of engines, addresses and files stay as they are. */
export const sentence = (text) => {
  if (!text) return "";
  const isWord = /^[a-z]+(?=[\s,;.!?]|$)/.test(text);
  return ended(isWord ? text[0].toUpperCase() + text.slice(1) : text);
};
export const ended = (text) => text + (/[.!?]$/.test(text) ? "" : ".");

/** A bar of how much is done. */
export function bar(share, label) {
  const percent = Math.round(100 * Math.min(1, Math.max(0, share)));
  return h("div", { class: "bar", role: "progressbar", "aria-label": label, "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100 },
    h("div", { class: "bar-fill", "width%": percent }));
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** It may stand alone in a panel of the same name, and is called otherwise. */
export function table(heads, rows, label) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${label}` },
    h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => {
      const [text, kind] = Array.isArray(head) ? head : [head, ""];
      return h("th", { scope: "col", class: kind }, text);
    }))), h("tbody", {}, rows)));
}

/** A question before something that cannot be taken back. */
export function confirm(title, text, yes) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "ask", "aria-labelledby": "ask-title" },
      h("form", { method: "dialog" }, h("h2", { id: "ask-title" }, title), h("p", {}, text),
        h("div", { class: "actions" },
          h("button", { value: "no", class: "quiet" }, "Cancel"),
          h("button", { value: "yes", class: "primary" }, yes))));
    dialog.addEventListener("close", () => { resolve(dialog.returnValue === "yes"); dialog.remove(); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Stays until somebody has read it and says so. */
export function dismissible(element) {
  element.append(h("button", { type: "button", class: "quiet small dismiss", onclick: () => element.remove() }, "Dismiss"));
  return element;
}

/** A short notice that is read out. It goes by itself, but for one that tells of a refusal. */
export function notice(text, tone = "calm") {
  let place = document.getElementById("notices");
  if (!place) {
    place = h("div", { id: "notices", role: "status", "aria-live": "polite" });
    document.body.append(place);
  }
  // The same again is one notice.
  for (const same of [...place.children]) if (same.firstChild.textContent === text) same.remove();
  const shown = h("div", { class: `notice ${tone}` }, h("span", {}, text));
  place.append(shown);
  if (tone === "bad") dismissible(shown);
  else setTimeout(() => shown.remove(), 6000);
}

/** Of the study where others tell how long one takes, else of its step. */
export function timeLeft(job, step) {
  if (job?.left_s) return `about ${span(job.left_s)} left`;
  return step?.left_s ? `about ${span(step.left_s)} left of this step` : null;
}
