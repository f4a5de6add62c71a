// What every page does: follow live events, send actions and forms to the REST API.
// The server renders; this file swaps the page's <main> for a newer one and marks what an event already says.

import { subscribe } from "./events.js";

const live = document.getElementById("live");
const toast = document.getElementById("toast");

function say(text) {
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { toast.hidden = true; }, 6000);
}

// A page with a form or a console holds what its user is doing: it is never swapped.
const swappable = () => live.hasAttribute("data-live") && !live.querySelector("[data-submit], [data-send], #console");

let refreshing = 0;
let again = false;  // something changed after the page that is on its way was made
function refreshSoon(wait = 200) {
  if (!swappable()) return;
  if (refreshing) again = true;
  else refreshing = setTimeout(refresh, wait);
}

async function refresh() {
  again = false;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected) { location.reload(); return; }
    if (answer.status === 404) { location.href = "/"; return; }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = page.getElementById("live");
    if (main && isOld(main)) again = true;  // it was made before what an event has said since
    else if (main && swappable()) {
      const open = live.querySelector(".more[open]");  // somebody is about to choose
      live.innerHTML = main.innerHTML;
      remember(live);
      if (open) live.querySelector(".more")?.setAttribute("open", "");
      live.dataset.csrf = main.dataset.csrf;
      showChosen();
    }
  } catch { /* the panel is away; the next event or tick tries again */ }
  refreshing = 0;
  if (again) refreshSoon();
}

// Of each VM the order of the newest status that is known here: what is older is not shown, in whatever order it comes.
const newest = new Map();

function isOlder(vm, order) {
  return (order ?? "") < (newest.get(String(vm)) ?? "");
}

function orders(root) {
  return [...root.querySelectorAll("[data-vm] .status[data-order]")].map((each) => [each.closest("[data-vm]").dataset.vm, each.dataset.order]);
}

function remember(root) {
  for (const [vm, order] of orders(root)) newest.set(vm, order);
}

function isOld(main) {
  return orders(main).some(([vm, order]) => isOlder(vm, order));
}

function mark(selector, status, order) {
  for (const each of document.querySelectorAll(selector)) {
    each.dataset.status = status;
    each.dataset.order = order;
    each.textContent = status.charAt(0).toUpperCase() + status.slice(1);
  }
}

const STEP_LABELS = { pending: "Waiting", running: "Running", done: "Done", failed: "Failed", undoing: "Undoing", undone: "Undone" };

const on = {
  vm(event) {
    if (isOlder(event.id, event.order)) return;
    newest.set(String(event.id), event.order);
    mark(`[data-vm="${event.id}"] .status`, event.status, event.order);
    refreshSoon();
  },
  node() { refreshSoon(); },
  problem() { refreshSoon(); },
  task(event) {
    for (const place of document.querySelectorAll(`[data-task="${event.id}"]`)) {
      const bar = place.querySelector("progress");
      if (bar) bar.value = event.progress;
      const step = event.step && place.querySelector(`[data-step="${event.step.position}"]`);
      if (step) {
        step.dataset.status = event.step.status;
        step.querySelector(".note").textContent = event.step.text;
        step.querySelector(".state").textContent = STEP_LABELS[event.step.status] ?? event.step.status;
      }
    }
    const moves = event.step && event.status === "running" && event.step.status === "running";
    const known = document.querySelector(`[data-task="${event.id}"]`);
    if (!moves || !known) refreshSoon();
  },
};

// Events come over one connection for all tabs of the browser (events.js).
function follow() {
  let polling = 0;
  let before = false;
  subscribe(live.dataset.live, Object.keys(on), {
    hello({ viewer }) {
      if (String(viewer) !== live.dataset.live) { location.reload(); return; }  // somebody else signed in
      clearInterval(polling);
      polling = 0;
      live.dataset.connected = "1";
      // What happened while we were cut off; at first, what a task did since the page was made.
      if (before || live.querySelector(".steps")) refreshSoon(0);
      before = true;
    },
    lost() {
      delete live.dataset.connected;
      if (!polling) polling = setInterval(() => refreshSoon(0), 5000);
    },
    ...on,
  });
}

// `confirmed`: the user was asked before. The panel refuses what cannot be taken back without it, so that nothing forgets.
export async function call(method, url, body, confirmed = false) {
  try {
    const answer = await fetch(url, {
      method,
      headers: {
        "Content-Type": "application/json",
        "X-CSRFToken": live.dataset.csrf,
        ...(confirmed ? { "X-Confirmed": "yes" } : {}),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (answer.status === 401) { location.reload(); }  // the session ended: the page asks to sign in
    const data = answer.status === 204 ? {} : await answer.json();
    if (answer.status === 428) {
      return confirm(data.question) ? call(method, url, body, true) : { ok: false, data: { detail: "Nothing was done." } };
    }
    return { ok: answer.ok, data };
  } catch {
    return { ok: false, data: { detail: "The panel does not answer. Try again in a moment." } };
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-action]");
  if (!button) return;
  if (button.dataset.form) { button.closest(".more")?.removeAttribute("open"); ask(button); return; }
  if (button.dataset.confirm && !confirm(button.dataset.confirm)) return;
  const body = button.dataset.node ? { node: button.dataset.node, stop_others: true } : fixed(button);
  if (button.dataset.name) body[button.dataset.name] = Number(button.dataset.value);
  button.disabled = true;
  button.closest(".more")?.removeAttribute("open");
  const { ok, data } = await call(button.dataset.method ?? "POST", button.dataset.action, body, Boolean(button.dataset.confirm));
  if (!ok) { say(data.detail); button.disabled = false; }
  else if (button.dataset.then) { location.href = button.dataset.then; return; }
  refreshSoon(0);
});

document.addEventListener("change", async (event) => {
  const box = event.target.closest("[data-patch]");
  if (!box) return;
  const value = box.type === "number" ? box.valueAsNumber : box.checked;
  const { ok, data } = await call("PATCH", box.dataset.patch, { [box.name]: value });
  if (ok) { say("Saved."); refreshSoon(0); return; }
  if (box.type === "number") box.value = box.defaultValue;
  else box.checked = !box.checked;
  say(data.detail);
});

document.addEventListener("change", async (event) => {
  const box = event.target.closest("[data-set]");
  if (!box) return;
  box.disabled = true;
  const { ok, data } = await call("POST", box.dataset.set, { [box.name]: box.checked });
  if (!ok) { say(data.detail); box.checked = !box.checked; box.disabled = false; }
  refreshSoon(0);
});

// Of choices under several names one alone is meant: an image, or an ISO image.
document.addEventListener("change", (event) => {
  if (event.target.type !== "radio") return;
  for (const other of event.target.closest("[data-either]")?.querySelectorAll("input:checked") ?? []) {
    if (other !== event.target) other.checked = false;
  }
});

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("[data-submit]");
  if (!form) return;
  event.preventDefault();
  for (const place of form.querySelectorAll("[data-error]")) place.textContent = "";
  // Enter in any field submits: what cannot be taken back is not begun by that alone.
  if (form.dataset.confirm && !confirm(form.dataset.confirm)) return;
  const button = form.querySelector("button.primary");
  button.disabled = true;
  const { ok, data } = await call(form.dataset.method ?? "POST", form.dataset.submit, values(form), Boolean(form.dataset.confirm));
  if (ok && form.dataset.show) { show(form, data[form.dataset.show]); return; }
  if (ok) { location.href = form.dataset.then.replace(/\{(\w+)\}/, (_, name) => data[name]); return; }
  button.disabled = false;
  const place = form.querySelector(`[data-error="${CSS.escape(data.field ?? "")}"]`) ?? form.querySelector('[data-error=""]');
  place.textContent = data.detail;
  form.querySelector(`[name="${CSS.escape(data.field ?? "")}"]`)?.focus();
  place.scrollIntoView({ block: "nearest" });
});

// Parameters that a button's place has settled, such as the disk in whose row it stands.
function fixed(button) {
  return JSON.parse(button.dataset.fixed ?? "{}");
}

// What is made once and never shown again stands where the form was.
export function show(form, secret) {
  const place = form.querySelector("[data-shown]");
  place.querySelector("pre").textContent = [secret].flat().join("\n");
  form.replaceChildren(place);
  place.hidden = false;
}

// A second factor: what the panel answers is shown to the phone, then confirmed by the form beside it.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-enrol]");
  if (!button) return;
  const { ok, data } = await call("POST", button.dataset.enrol, {});
  if (!ok) { say(data.detail); return; }
  const place = button.parentElement.querySelector("[data-enrolment]");
  place.querySelector("[data-secret]").textContent = data.secret;
  place.querySelector(".picture").innerHTML = data.picture;
  button.hidden = true;
  place.hidden = false;
});

// The dialog of an operation that needs to know something: its fields are the operation's own parameters.
function ask(button) {
  const settled = fixed(button);
  const { schema, initial } = JSON.parse(button.dataset.form);
  const dialog = document.createElement("dialog");
  const form = document.createElement("form");
  form.className = "form";
  const title = document.createElement("h2");
  title.textContent = button.dataset.title;
  form.append(title);
  if (button.dataset.warning) form.append(Object.assign(document.createElement("p"), { textContent: button.dataset.warning }));
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    if (name in settled) continue;
    form.append(...field(name, property, initial[name], (schema.required ?? []).includes(name)));
  }
  const failed = document.createElement("p");
  failed.className = "error";
  failed.dataset.error = "";
  failed.setAttribute("role", "alert");
  const go = document.createElement("button");
  go.className = button.classList.contains("danger") ? "danger" : "primary";
  go.textContent = button.textContent;
  const away = document.createElement("button");
  away.type = "button";
  away.textContent = "Cancel";
  away.addEventListener("click", () => dialog.close());
  const row = document.createElement("div");
  row.className = "actions";
  row.append(go, away);
  form.append(failed, row);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    for (const place of form.querySelectorAll("[data-error]")) place.textContent = "";
    if (button.dataset.confirm && !confirm(button.dataset.confirm)) return;
    go.disabled = true;
    const body = { ...values(form), ...settled };
    const { ok, data } = await call(button.dataset.method ?? "POST", button.dataset.action, body, Boolean(button.dataset.confirm));
    if (ok && button.dataset.then) { location.href = button.dataset.then; return; }
    if (ok) { dialog.close(); refreshSoon(0); return; }
    go.disabled = false;
    const place = form.querySelector(`[data-error="${CSS.escape(data.field ?? "")}"]`) ?? failed;
    place.textContent = data.detail;
    form.elements[data.field]?.focus?.();
  });
  dialog.append(form);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function field(name, property, initial, required) {
  const kinds = [property, ...(property.anyOf ?? [])];
  const is = (type) => kinds.some((kind) => kind.type === type);
  const options = kinds.flatMap((kind) => kind.enum ?? []);
  const words = name.replaceAll("_", " ");
  const label = document.createElement("label");
  let input;
  if (is("boolean") && is("null")) {
    input = document.createElement("select");
    input.dataset.choice = "";
    for (const option of ["", "yes", "no"]) input.append(new Option(option, option));
  } else if (options.length) {
    input = document.createElement("select");
    if (!required) input.append(new Option("", ""));
    for (const option of options) input.append(new Option(option, option));
  } else if (is("array")) {
    input = document.createElement("textarea");
    input.rows = 3;
    input.dataset.list = "";
  } else if (is("object")) {
    input = document.createElement("textarea");
    input.rows = 3;
    input.dataset.map = "";
  } else {
    input = document.createElement("input");
    if (is("boolean")) { input.type = "checkbox"; input.dataset.switch = ""; }
    else if (is("integer") || is("number")) {
      input.type = "number";
      input.dataset.number = "";
      input.step = is("number") ? "any" : "1";
      for (const kind of kinds) {
        if (kind.minimum !== undefined) input.min = kind.minimum;
        if (kind.maximum !== undefined) input.max = kind.maximum;
      }
    } else if (kinds.some((kind) => kind.format === "password")) { input.type = "password"; input.autocomplete = property.autocomplete ?? "new-password"; }
  }
  input.name = name;
  input.required = required && !is("boolean");
  const value = initial ?? property.default;
  if (input.type === "checkbox") { input.checked = Boolean(value); label.className = "switch"; }
  else if (Array.isArray(value)) input.value = value.join("\n");
  else if (is("object")) input.value = Object.entries(value ?? {}).map((pair) => pair.join(" = ")).join("\n");
  else if (value !== undefined && value !== null) input.value = value;
  label.append(words.charAt(0).toUpperCase() + words.slice(1), input);
  if (input.type === "checkbox") label.prepend(input);
  const note = document.createElement("small");
  note.textContent = property.description ?? "";
  const error = document.createElement("p");
  error.className = "error";
  error.dataset.error = name;
  label.append(note);
  return [label, error];
}

// What is chosen in a list outlives the swapping of the page.
const chosen = new Set();

function showChosen() {
  const bar = document.getElementById("group");
  if (!bar) return;
  for (const box of document.querySelectorAll("[data-choose]")) box.checked = chosen.has(box.dataset.choose);
  bar.hidden = !chosen.size;
  bar.querySelector(".chosen").textContent = `${chosen.size} chosen`;
}

document.addEventListener("change", (event) => {
  const all = event.target.closest("[data-choose-all]");
  const boxes = all ? document.querySelectorAll("[data-choose]") : [event.target.closest("[data-choose]")];
  for (const box of boxes) {
    if (!box) return;
    if (all ? all.checked : box.checked) chosen.add(box.dataset.choose); else chosen.delete(box.dataset.choose);
  }
  showChosen();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-group]");
  if (!button) return;
  if (button.dataset.confirm && !confirm(`${button.dataset.confirm} ${chosen.size} virtual machines?`)) return;
  const body = { ids: [...chosen].map(Number) };
  const { ok, data } = await call("POST", button.dataset.group, body, Boolean(button.dataset.confirm));
  if (!ok) { say(data.detail); return; }
  const refused = data.results.filter((each) => each.error);
  if (refused.length) say(`${refused.length} of ${data.results.length} refused: ${refused[0].error.message}`);
  chosen.clear();
  showChosen();
  refreshSoon(0);
});

function values(form) {
  const found = {};
  for (const box of form.querySelectorAll("[data-switch]")) found[box.name] = box.checked;
  for (const box of form.querySelectorAll("[data-many]")) {
    if (box.dataset.many !== "some") found[box.name] ??= [];
    if (box.checked) (found[box.name] ??= []).push(box.value);
  }
  for (const box of form.querySelectorAll("[data-null]")) {
    const [group, name] = box.name.split(".");
    (found[group] ??= {})[name] = box.value ? Number(box.value) : null;
  }
  for (const [name, value] of new FormData(form)) {
    const field = form.elements[name];
    if (form.querySelector(`[data-many][name="${CSS.escape(name)}"], [data-null][name="${CSS.escape(name)}"]`)) continue;
    if (field.dataset && "switch" in field.dataset) continue;
    if (!value && !(field.dataset && "empty" in field.dataset)) continue;
    if (field.dataset && "choice" in field.dataset) found[name] = value === "yes";
    else if (field.dataset && "list" in field.dataset) found[name] = value.split("\n").map((line) => line.trim()).filter(Boolean);
    else if (field.dataset && "map" in field.dataset) {
      const pairs = value.split("\n").map((line) => line.split("=").map((part) => part.trim()));
      found[name] = Object.fromEntries(pairs.filter((pair) => pair[0] && pair[1]));
    } else if (field.dataset && "number" in field.dataset) found[name] = Number(value);
    else found[name] = value;
  }
  return found;
}

remember(live);
if (live.hasAttribute("data-live")) follow();
