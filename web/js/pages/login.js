// Name and password.

import { send } from "../api.js";
import { h, replace } from "../dom.js";
import { problem } from "../parts.js";

/** `told` says why one is here again. */
export function login(session, done, told = "") {
  const failed = h("div", {});
  const name = h("input", { id: "name", name: "name", autocomplete: "username", autocapitalize: "none", required: true, maxlength: 64 });
  const password = h("input", { id: "password", name: "password", type: "password", autocomplete: "current-password", required: true, maxlength: 256 });
  const button = h("button", { class: "primary" }, "Log in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await send("POST", "/api/v1/session", { name: name.value.trim(), password: password.value });
      done();
    } catch (error) {
      replace(failed, problem(error));
      password.value = "";
      password.focus();
    }
    button.disabled = false;
  };
  setTimeout(() => name.focus());
  return h("main", { id: "main", class: "login" },
    h("form", { onsubmit: submit, class: "panel" },
      h("div", { class: "brand" }, h("img", { src: "/icon.svg", alt: "", width: 34, height: 34 }),
        h("span", {}, h("b", {}, "hepalert"), h("small", {}, session.device))),
      h("h1", {}, "Log in"), told ? h("p", { class: "notice inline", role: "status" }, told) : null,
      h("label", { for: "name" }, "Name"), name,
      h("label", { for: "password" }, "Password"), password,
      failed, button,
      h("p", { class: "muted small-text" }, "Suspected findings, never a diagnosis. Users are made on the device: hepalert web user add.")));
}
