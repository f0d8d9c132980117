// The frame: who is there, where one is, light or dark; and the page that belongs to the address.

import { Problem, get, send, whenLoggedOut } from "./api.js";
import { h, icon, replace } from "./dom.js";
import * as live from "./live.js";
import { plural } from "./format.js";
import { problem, stateChip } from "./parts.js";
import { login } from "./pages/login.js";

const ALL_PAGES = [
  { path: "", name: "Overview", icon: "overview", load: () => import("./pages/overview.js") },
  { path: "queue", name: "Queue", icon: "queue", load: () => import("./pages/queue.js") },
  { path: "studies", name: "Studies", icon: "studies", load: () => import("./pages/studies.js") },
  { path: "label", name: "Labels", icon: "label", load: () => import("./pages/label.js"), needs: "has_cases" },
  { path: "engines", name: "Engines", icon: "engines", load: () => import("./pages/engines.js") },
  { path: "settings", name: "Settings", icon: "settings", load: () => import("./pages/settings.js") },
];
let PAGES = ALL_PAGES;
const HIDDEN = [
  { path: "view", name: "Viewer", load: () => import("./pages/viewer.js") },
];

const app = document.getElementById("app");
let session = null;
let leave = () => {};
let leaveFrame = () => {};
let turn = 0;

export const may = (role) => ["viewer", "annotator", "admin"].indexOf(session?.role) >= ["viewer", "annotator", "admin"].indexOf(role);

function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").map(decoded), query: new URLSearchParams(query) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Problem(404, { message: "there is no such page", code: "unknown_page", next: "the address is not whole; choose another page" });
  }
}

async function start() {
  try {
    session = await get("/api/v1/session");
  } catch (error) {
    replace(app, h("main", { id: "main", class: "alone" }, problem(error)));
    setTimeout(start, 5000);
    return;
  }
  if (!session.user) return showLogin();
  PAGES = ALL_PAGES.filter((page) => session[page.needs ?? "has_device"]);
  frame();
  show();
}

function showLogin(told) {
  // A page that is still loading must not come up behind the login.
  turn++;
  leave();
  leave = () => {};
  leaveFrame();
  live.close();
  document.title = "Log in · hepalert";
  replace(app, login(session, start, told));
}

whenLoggedOut(() => {
  // The login is there already: what was typed into it stays.
  if (!session?.user) return;
  session.user = null;
  showLogin("Your session has ended. Log in again.");
});

function frame() {
  const links = PAGES.map((page) => h("a", { href: `#/${page.path}`, "data-page": page.path, title: page.name },
    icon(page.icon), h("span", {}, page.name)));
  const pulse = h("div", { class: "pulse", "aria-live": "polite" });
  leaveFrame();
  if (session.has_device) leaveFrame = live.subscribe((state) => {
    const device = state.device;
    const waiting = state.counts.queued + state.counts.running;
    replace(pulse, state.lost
      ? h("span", { class: "chip bad" }, "No connection")
      : stateChip(device.state),
    h("span", { class: "muted" }, waiting ? `${plural(waiting, "study", "studies")} in the queue` : "queue empty"));
  });
  const user = session.login
    ? h("button", { class: "quiet small", onclick: logOut, title: `Log out ${session.user}` }, icon("out"), h("span", {}, session.user))
    : h("span", { class: "muted small-text" }, session.has_device ? `everybody here: ${session.role}` : `labels of ${session.user}`);
  const nav = h("nav", { class: "side", "aria-label": "Pages" },
    h("a", { class: "brand", href: "#/" }, h("img", { src: "/icon.svg", alt: "First page", width: 26, height: 26 }),
      h("span", {}, h("b", {}, "hepalert"), h("small", {}, session.device))),
    h("div", { class: "links" }, links),
    h("div", { class: "foot" }, pulse, h("div", { class: "foot-row" }, user,
      h("button", { class: "quiet small", onclick: changeTheme, "aria-label": "Light or dark", title: "Light or dark (t)" }, icon("theme")))));
  replace(app, nav, h("main", { id: "main", tabindex: "-1" }));
}

async function logOut() {
  session = await send("DELETE", "/api/v1/session");
  showLogin();
}

function changeTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("hepalert-theme", root.dataset.theme); } catch { /* kept for this visit */ }
}

/** Tells which page this is: in the links, the title and the width. */
function mark(page, main) {
  for (const link of document.querySelectorAll(".links a")) {
    const here = link.dataset.page === page.path || (page.path === "view" && link.dataset.page === "studies");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${page.name} · ${session.device} · hepalert`;
  main.className = page.path === "view" ? "wide" : "";
}

async function show() {
  const before = document.getElementById("main");
  if (!before) return;
  // A page of its own each time: one that is left while it loads draws into nothing.
  const main = h("main", { id: "main", tabindex: "-1" });
  before.replaceWith(main);
  const mine = ++turn;
  leave();
  leave = () => {};
  try {
    const { parts, query } = address();
    const page = [...PAGES, ...HIDDEN].find((page) => page.path === (parts[0] ?? "")) ?? (parts[0] ? null : PAGES[0]);
    if (!page) throw new Problem(404, { message: "there is no such page", code: "unknown_page", next: "choose another page" });
    mark(page, main);
    const module = await page.load();
    if (mine !== turn) return;
    replace(main);
    const left = await module.show(main, { parts: parts.slice(1), query, session, may });
    if (typeof left === "function") {
      if (mine === turn) leave = left;
      else left();
    }
  } catch (error) {
    if (mine === turn) replace(main, problem(error));
    console.error(error);
  }
  main.scrollTo?.(0, 0);
}

addEventListener("hashchange", () => {
  if (!session?.user) return;
  show();
  document.getElementById("main")?.focus({ preventScroll: true });
});

// g then a letter goes to a page, as in many programs; t changes the theme.
let gone = 0;
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, select, textarea, dialog")) return;
  if (event.key === "t") changeTheme();
  if (event.key === "g") { gone = Date.now(); return; }
  const to = { o: "", q: "queue", s: "studies", e: "engines", c: "settings" }[event.key];
  if (to !== undefined && Date.now() - gone < 1200) location.hash = `#/${to}`;
  gone = 0;
});

start();
