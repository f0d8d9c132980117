// Labels that came with a case, or another reader's, while they are looked at: what their values mean,
// and the way from them into one's own.

import { send } from "../api.js";
import { h, replace } from "../dom.js";
import { number } from "../format.js";
import { notice, problem, sentence } from "../parts.js";

const KNOWN = {
  as_here: "Its values mean what labels mean in this folder.",
  by_name: "It has one value and is called as a label.",
  said: "A reader said what its values mean.",
  not: "Nobody has said what its values mean: they are shown as they are.",
};

/** `acts` are `again` (look at these labels anew) and `take` (an edit of one's own labels). */
export function givenPanel(whose, given, mayEdit, acts) {
  if (!mayEdit) return given ? h("p", { class: "muted small-text" }, KNOWN[given.known]) : null;
  const take = (labels) => acts.take({ op: "take_from", whose, over: labels.some((label) => label > 0 && label < 7) ? acts.underLesions : [0] });
  const add = (labels) => h("button", { class: "small", "data-key": "take-all", title: "What you have labelled stays", onclick: () => take(labels) }, "Add to my labels");
  if (!given) return h("div", { class: "tools" }, add([]));
  const answers = new Map(given.values.map((one) => [one.value, one.means ?? guess(given, one.value)]));
  const told = h("div", {});
  const line = (one) => {
    const id = `value-${one.value}`;
    const choice = h("select", { id, onchange: () => answers.set(one.value, choice.value === "" ? null : Number(choice.value)) },
      h("option", { value: "" }, "not said"), given.choices.map(([label, name]) => h("option", { value: label }, name)), h("option", { value: 0 }, "left out"));
    choice.value = answers.get(one.value) ?? "";
    return h("div", { class: "row" }, h("label", { for: id }, `Value ${one.value}, ${number(one.volume_cm3)} cm³`), choice);
  };
  const keep = async () => {
    const values = [...answers].filter(([, label]) => label !== null);
    if (!values.length) { notice("Say first what a value means."); return; }
    try {
      await send("POST", "/api/v1/label/given", { labels: given.name, values });
      await acts.again();
    } catch (error) { replace(told, problem(error)); }
  };
  const isOpen = given.known === "not";
  const form = [given.values.map(line), h("div", { class: "tools" }, h("button", { class: `small${isOpen ? " primary" : ""}`, "data-key": "say", onclick: keep }, "Keep what they mean"))];
  return h("section", { class: "given", "aria-label": "What the values mean" }, h("h2", {}, `Came with it: ${given.name}`), h("p", { class: "small-text" }, KNOWN[given.known]),
    isOpen ? form : h("details", {}, h("summary", {}, "What its values mean"), form), told,
    isOpen ? null : h("div", { class: "tools" }, add(given.values.map((one) => one.means))));
}

/** A name such as `labels_liver1_tumour2` says it of some. */
function guess(given, value) {
  const name = given.name.toLowerCase();
  const found = given.choices.find(([, choice]) => name.includes(`${choice.toLowerCase()}${value}`) || (given.values.length === 1 && name.startsWith(choice.toLowerCase())));
  return found ? found[0] : null;
}

/** Others changed the labels: what becomes of this window's edit. */
export function askCollided(error, operation) {
  return new Promise((resolve) => {
    const choices = [
      operation ? ["again", "Make my edit on the newer labels", "primary"] : null,
      ["aside", "Keep mine under another name", operation ? "" : "primary"],
      ["drop", operation ? "Drop my edit" : "Go on with the newer labels", "quiet"],
    ].filter(Boolean);
    const dialog = h("dialog", { class: "ask collided", "aria-labelledby": "ask-title" },
      h("form", { method: "dialog" }, h("h2", { id: "ask-title" }, "These labels were changed elsewhere"),
        h("p", {}, `${sentence(error.message)} Your last ${operation ? "edit" : "undo or redo"} was not made. Both can be kept: make it on what is there now, or keep all labels of this window under a name of their own, to compare and take over region by region.`),
        h("div", { class: "actions" }, choices.reverse().map(([value, text, kind]) => h("button", { value, class: kind }, text)))));
    // Escape is no answer: the edit would be lost by a slip.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue || "aside"); });
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector(".primary").focus();
  });
}
