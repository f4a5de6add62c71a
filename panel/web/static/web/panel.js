// What every page does: follow live events, send actions and forms to the REST API.
// The server renders; this file swaps the page's <main> for a newer one and marks what an event already says.

const live = document.getElementById("live");
const toast = document.getElementById("toast");

function say(text) {
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { toast.hidden = true; }, 6000);
}

// A page with a form or a console holds what its user is doing: it is never swapped.
const swappable = () => live.hasAttribute("data-live") && !live.querySelector("[data-submit], #console");

let refreshing = 0;
function refreshSoon(wait = 200) {
  if (!swappable() || refreshing) return;
  refreshing = setTimeout(refresh, wait);
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected) { location.reload(); return; }
    if (answer.status === 404) { location.href = "/"; return; }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = page.getElementById("live");
    if (main && swappable()) {
      live.innerHTML = main.innerHTML;
      live.dataset.csrf = main.dataset.csrf;
    }
  } catch { /* the panel is away; the next event or tick tries again */ }
  refreshing = 0;
}

function mark(selector, status) {
  for (const each of document.querySelectorAll(selector)) {
    each.dataset.status = status;
    each.textContent = status.charAt(0).toUpperCase() + status.slice(1);
  }
}

const STEP_LABELS = { pending: "Waiting", running: "Running", done: "Done", failed: "Failed", undoing: "Undoing", undone: "Undone" };

const on = {
  vm(event) {
    mark(`[data-vm="${event.id}"] .status`, event.status);
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

function follow() {
  const source = new EventSource("/events");
  let polling = 0;
  let before = false;
  source.addEventListener("hello", () => {
    clearInterval(polling);
    polling = 0;
    live.dataset.connected = "1";
    if (before) refreshSoon(0);  // what happened while we were cut off
    before = true;
  });
  source.onerror = () => {
    delete live.dataset.connected;
    if (!polling) polling = setInterval(() => refreshSoon(0), 5000);
  };
  for (const topic of Object.keys(on)) source.addEventListener(topic, (event) => on[topic](JSON.parse(event.data)));
}

async function call(method, url, body) {
  try {
    const answer = await fetch(url, {
      method,
      headers: { "Content-Type": "application/json", "X-CSRFToken": live.dataset.csrf },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (answer.status === 401) { location.reload(); }  // the session ended: the page asks to sign in
    const data = answer.status === 204 ? {} : await answer.json();
    return { ok: answer.ok, data };
  } catch {
    return { ok: false, data: { detail: "The panel does not answer. Try again in a moment." } };
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-action]");
  if (!button || (button.dataset.confirm && !confirm(button.dataset.confirm))) return;
  button.disabled = true;
  const body = button.dataset.node ? { node: button.dataset.node, stop_others: true } : {};
  const { ok, data } = await call("POST", button.dataset.action, body);
  if (!ok) { say(data.detail); button.disabled = false; }
  refreshSoon(0);
});

document.addEventListener("change", async (event) => {
  const box = event.target.closest("[data-patch]");
  if (!box) return;
  const { ok, data } = await call("PATCH", box.dataset.patch, { [box.name]: box.checked });
  if (ok) { say("Saved."); return; }
  box.checked = !box.checked;
  say(data.detail);
});

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("[data-submit]");
  if (!form) return;
  event.preventDefault();
  for (const place of form.querySelectorAll("[data-error]")) place.textContent = "";
  const button = form.querySelector("button.primary");
  button.disabled = true;
  const { ok, data } = await call("POST", form.dataset.submit, values(form));
  if (ok) { location.href = form.dataset.then.replace(/\{(\w+)\}/, (_, name) => data[name]); return; }
  button.disabled = false;
  const place = form.querySelector(`[data-error="${CSS.escape(data.field ?? "")}"]`) ?? form.querySelector('[data-error=""]');
  place.textContent = data.detail;
  form.querySelector(`[name="${CSS.escape(data.field ?? "")}"]`)?.focus();
  place.scrollIntoView({ block: "nearest" });
});

function values(form) {
  const found = {};
  for (const [name, value] of new FormData(form)) {
    if (!value) continue;
    const field = form.elements[name];
    if (field.dataset && "list" in field.dataset) found[name] = value.split("\n").map((line) => line.trim()).filter(Boolean);
    else if (field.dataset && "number" in field.dataset) found[name] = Number(value);
    else found[name] = value;
  }
  return found;
}

if (live.hasAttribute("data-live")) follow();
