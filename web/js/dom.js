// Elements from text. What comes from outside becomes text, never markup: there is no innerHTML in
// this program.

const SVG = "http://www.w3.org/2000/svg";

/** h("a", {class: "x", href: "#/"}, "text", element, [more]) */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  append(element, children);
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, attributes);
  append(element, children);
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (name === "width%") element.style.setProperty("width", `${value}%`);
    else if (name === "at%") element.style.setProperty("--at", `${value}%`);
    else if (name === "tint") element.style.setProperty("--tint", value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export function replace(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** Keeps the element that has the focus where a list is drawn anew: by its data-key. */
export function redraw(element, ...children) {
  const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  replace(element, ...children);
  if (key) element.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

const ICONS = {
  overview: "M3 12a9 9 0 1 1 18 0M12 12l4-4M3 12v4h18v-4",
  queue: "M4 6h16M4 12h16M4 18h10",
  studies: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  engines: "M8 8h8v8H8zM12 2v4M12 18v4M2 12h4M18 12h4M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M14 4v6M6 14v6",
  label: "M4 20l4-1L19 8l-3-3L5 16zM14 7l3 3",
  theme: "M12 3a9 9 0 1 0 9 9 7 7 0 0 1-9-9z",
  out: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h10",
};

export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" },
    svg("path", { d: ICONS[name] }));
}
