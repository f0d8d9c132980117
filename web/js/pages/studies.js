// The studies: search, filters, pages. What is asked for stands in the address.

import { get } from "../api.js";
import { h, redraw, replace } from "../dom.js";
import { STATES, VERDICTS, ago, number, plural, span, time, words } from "../format.js";
import { empty, keyLink, problem, stateChip, table, verdictChip } from "../parts.js";
import * as study from "./study.js";

export async function show(main, context) {
  if (context.parts[0]) return study.show(main, context);
  const asked = new URLSearchParams(context.query);
  const list = h("div", { class: "results" });
  const count = h("p", { class: "muted", role: "status" });
  const form = h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() });
  replace(main, h("header", { class: "page-head" }, h("h1", {}, "Studies"), count), form, list);
  let asking = null;
  const load = async () => {
    asking?.abort();
    asking = new AbortController();
    history.replaceState(null, "", `#/studies${asked.size ? `?${asked}` : ""}`);
    try {
      const page = await get(`/api/v1/studies?${asked}`, asking.signal);
      if (!form.childElementCount) fill(form, asked, page.facets, load);
      draw(list, count, page, asked, load);
    } catch (error) {
      if (error.name === "AbortError") return;
      replace(count);
      replace(list, problem(error), h("a", { class: "button", href: "#/studies" }, "All studies"));
    }
  };
  await load();
  return () => asking?.abort();
}

function fill(form, asked, facets, load) {
  const set = (name, value) => {
    if (value) asked.set(name, value);
    else asked.delete(name);
    asked.delete("page");
    load();
  };
  let timer = 0;
  const search = h("input", { type: "search", id: "search", placeholder: "Study key, reason, class", value: asked.get("search") ?? "", maxlength: 64,
    oninput: (event) => { clearTimeout(timer); timer = setTimeout(() => set("search", event.target.value.trim()), 200); } });
  const choice = (name, text, values, told) => {
    const select = h("select", { id: `by-${name}`, onchange: (event) => set(name, event.target.value) },
      h("option", { value: "" }, "All"), values.map(([value, count]) => h("option", { value }, `${told(value)} (${count})`)));
    const now = asked.get(name) ?? "";
    if (now.includes(",")) select.append(h("option", { value: now }, now.split(",").map(told).join(" or ")));
    select.value = now;
    return field(`by-${name}`, text, select);
  };
  const day = (name, text) => field(`by-${name}`, text, h("input", { type: "date", id: `by-${name}`, value: asked.get(name) ?? "", onchange: (event) => set(name, event.target.value) }));
  const sort = h("select", { id: "by-sort", onchange: (event) => set("sort", event.target.value) },
    h("option", { value: "" }, "Newest first"), h("option", { value: "largest" }, "Largest finding"), h("option", { value: "seconds" }, "Longest analysis"));
  sort.value = asked.get("sort") ?? "";
  const reset = h("button", { type: "button", class: "quiet", onclick: () => { for (const name of [...asked.keys()]) asked.delete(name); form.replaceChildren(); load(); } }, "Clear");
  replace(form, field("search", "Search", search),
    choice("verdict", "Verdict", facets.verdict, (value) => VERDICTS[value]?.text ?? (value === "none" ? "No report" : value)),
    choice("state", "State", facets.state, (value) => STATES[value]?.text ?? value),
    choice("setting", "Setting", facets.setting, words),
    choice("engine", "Engine", facets.engine, (value) => (value === "none" ? "None" : value)),
    day("from", "From"), day("to", "To"), field("by-sort", "Order", sort), reset);
}

const field = (id, text, input) => h("div", { class: "field" }, h("label", { for: id }, text), input);

function draw(list, count, page, asked, load) {
  replace(count, plural(page.total, "study", "studies"));
  if (!page.total) return replace(list, empty("No study matches.", asked.size ? "Clear a filter." : "Export one into the folder that the device watches."));
  redraw(list, table(["Complete", "Study", "Verdict", "Class", ["Findings", "num"], ["Largest", "num"], ["Setting", "minor"], "State", ["Engine", "minor"], ["Took", "num minor"]],
    page.rows.map(line), "Studies"), pager(page, asked, load));
}

function line(row) {
  const result = row.result;
  const classes = result ? (result.base === result.high ? result.base : `${result.base} / ${result.high}`) : "";
  return h("tr", {},
    h("td", { title: time(row.completed) }, ago(row.completed)),
    h("td", {}, keyLink(row.study_key), row.revision > 1 ? h("span", { class: "muted" }, ` r${row.revision}`) : null),
    h("td", { class: "says" }, result ? verdictChip(result.verdict) : row.reason ? h("span", { class: "muted", title: row.reason.advice ?? "" }, row.reason.sentence ?? words(row.reason.code)) : null),
    h("td", {}, classes === "normal" ? h("span", { class: "muted" }, "none") : classes),
    h("td", { class: "num" }, result ? (result.lesions ? `${result.suspected} of ${result.lesions}` : "0") : ""),
    h("td", { class: "num" }, result?.largest_mm ? `${number(result.largest_mm, 0)} mm` : ""),
    h("td", { class: "minor" }, words(row.setting)),
    h("td", {}, stateChip(row.state)),
    h("td", { class: "minor" }, result?.engine ?? ""),
    h("td", { class: "num minor" }, result ? span(result.seconds) : ""));
}

function pager(page, asked, load) {
  const last = Math.max(1, Math.ceil(page.total / page.size));
  if (last === 1) return null;
  const go = (to) => { if (to > 1) asked.set("page", to); else asked.delete("page"); load(); };
  const button = (text, to, off, key) => h("button", { class: "quiet", disabled: off, onclick: () => go(to), "data-key": key }, text);
  return h("nav", { class: "pager", "aria-label": "Pages of the list" },
    button("First", 1, page.page === 1, "first"), button("Previous", page.page - 1, page.page === 1, "previous"),
    h("span", {}, `Page ${page.page} of ${last}`),
    button("Next", page.page + 1, page.page === last, "next"), button("Last", last, page.page === last, "last"));
}
