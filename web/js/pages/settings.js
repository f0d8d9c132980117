// The settings, to look at: they are changed in files on the device.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { panel, sentence } from "../parts.js";

export async function show(main) {
  const { file, sections } = await get("/api/v1/settings");
  const changed = sections.flatMap((section) => section.keys).filter((key) => !key.is_default).length;
  const only = h("input", { type: "checkbox", id: "only" });
  const search = h("input", { type: "search", id: "find", placeholder: "Find a setting" });
  const list = h("div", { class: "settings" });
  const draw = () => {
    const wanted = search.value.trim().toLowerCase();
    const shown = (section, key) => (!only.checked || !key.is_default) && `${section.name}.${key.key} ${key.help}`.toLowerCase().includes(wanted);
    replace(list, sections.map((section) => {
      const keys = section.keys.filter((key) => shown(section, key));
      return keys.length ? panel(`[${section.name}]`, h("dl", { class: "keys" }, keys.map(line))) : null;
    }));
    if (!list.childElementCount) replace(list, h("p", { class: "muted" }, "No setting matches."));
  };
  only.addEventListener("change", draw);
  search.addEventListener("input", draw);
  replace(main, h("header", { class: "page-head" }, h("h1", {}, "Settings"), h("p", { class: "muted" }, `${changed} differ from the defaults. Read from `, h("code", {}, file), " and the fragments beside it; changed there, not here.")),
    h("div", { class: "filters" }, h("div", { class: "field" }, h("label", { for: "find" }, "Search"), search), h("label", { class: "check" }, only, " only what differs")), list);
  draw();
}

function line(key) {
  return h("div", { class: key.is_default ? "" : "changed" },
    h("dt", {}, h("code", {}, key.key), key.is_default ? h("span", { class: "tag" }, "default") : h("span", { class: "tag accent" }, "set")),
    h("dd", {}, h("code", { class: "value" }, key.value || "unset"), key.is_default ? null : h("span", { class: "muted" }, " default ", h("code", {}, key.default || "unset")), h("p", { class: "muted" }, sentence(key.help))));
}
