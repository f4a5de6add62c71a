// What every page does besides htmx: live regions, the dialog, messages, what is chosen in lists.

import { follow } from "./live.js";
import { remember } from "./begun.js";
import "./choosing.js";
import "./keys.js";
import { say, words } from "./messages.js";

const dialog = document.getElementById("dialog");
const content = document.getElementById("dialog-content");
const modal = () => bootstrap.Modal.getOrCreateInstance(dialog);

// What is fetched into the dialog opens it; an answer of the panel closes it.
document.body.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.target !== content) return;
  if (dialog.classList.contains("show")) focus();
  else modal().show();
});
// Bootstrap leaves a dialog that is still opening as it is: then it goes once it is there.
let closing = false;
document.body.addEventListener("close-dialog", () => { closing = dialog.classList.contains("show"); modal().hide(); });
dialog.addEventListener("shown.bs.modal", () => { if (closing) modal().hide(); });
function focus() {
  (content.querySelector(".is-invalid, [autofocus]") ?? content.querySelector("input:not([type=hidden]), select, textarea"))?.focus();
}
dialog.addEventListener("shown.bs.modal", focus);
dialog.addEventListener("hidden.bs.modal", () => { closing = false; content.replaceChildren(); });

document.body.addEventListener("say", ({ detail }) => { remember(detail.to); say(detail.text ?? detail.value, detail); });
document.body.addEventListener("htmx:responseError", ({ detail: { xhr } }) => {
  if (xhr.status === 401) { location.reload(); return; }
  const plain = (xhr.getResponseHeader("Content-Type") ?? "").startsWith("text/plain");
  say(plain ? xhr.responseText : words.failed, { kind: "danger" });
});
document.body.addEventListener("htmx:sendError", () => say(words.away, { kind: "danger" }));

// A form that is on its way is not sent once more: whoever clicks twice means once. (htmx itself would queue it.)
const sent = new WeakSet();
document.body.addEventListener("htmx:beforeRequest", ({ detail }) => sent.add(detail.elt));
document.body.addEventListener("htmx:afterRequest", ({ detail }) => sent.delete(detail.elt));
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[hx-post]") || !sent.has(event.target)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

// A region that is read anew keeps what its reader does in it: open parts, what is typed, what is chosen.
Idiomorph.defaults.ignoreActiveValue = true;
Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => {
  if (name === "open" && element.matches("details, dialog")) return false;
  if ((name === "class" || name === "aria-expanded") && element.matches(".dropdown-menu.show, [aria-expanded=true], .collapse.show")) return false;
  if ((name === "value" || name === "checked") && element.matches("input, textarea, select") && element.dataset.touched) return false;
  return true;
};
document.addEventListener("input", ({ target }) => { target.dataset.touched = "1"; });

follow(document.body.dataset.viewer);

// An operating system is of an image or of an ISO image: what is chosen there is not chosen here.
document.addEventListener("change", ({ target }) => {
  if (target.type !== "radio" || !["image", "iso"].includes(target.name)) return;
  const other = target.name === "image" ? "iso" : "image";
  for (const each of target.form.querySelectorAll(`[type=radio][name=${other}]:checked`)) each.checked = false;
});
