// Live regions: what has data-live="TOPIC …" is read anew when an event of one of its topics comes.
// A status is marked at once from the event itself; what is older than what is shown already never is.

import { ended } from "./begun.js";
import { subscribe } from "./events.js";
import { words } from "./messages.js";

const SOON_MS = 120;      // events that come together cost one reading
const POLL_MS = 5000;     // while there are no events

const waiting = new Map();
const busy = new Set();
const again = new Set();

export function refresh(region, soon = SOON_MS) {
  if (waiting.has(region)) return;
  if (busy.has(region)) { again.add(region); return; }
  waiting.set(region, setTimeout(() => {
    waiting.delete(region);
    if (region.isConnected) htmx.trigger(region, "refresh");
  }, soon));
}

const regions = () => document.querySelectorAll("[data-live]");

function concerns(region, event) {
  const names = [event.topic, `${event.topic}:${event.id}`, `${event.topic}:${event.object_type}:${event.object_id}`];
  return region.dataset.live.split(" ").some((each) => names.includes(each));
}

// Of each object the order of the newest status that is known here.
const newest = new Map();
const key = (element) => element.closest("[data-object]")?.dataset.object;
const isOlder = (object, order) => (order ?? "") < (newest.get(object) ?? "");

function remember(root) {
  for (const each of root.querySelectorAll(".status[data-order]")) {
    const object = key(each);
    if (object && !isOlder(object, each.dataset.order)) newest.set(object, each.dataset.order);
  }
}

const isOld = (root) => [...root.querySelectorAll(".status[data-order]")].some((each) => {
  const object = key(each);
  return object && isOlder(object, each.dataset.order);
});

function mark(event) {
  const object = `${event.topic}:${event.id}`;
  if (!event.order || isOlder(object, event.order)) return false;
  newest.set(object, event.order);
  for (const each of document.querySelectorAll(`[data-object="${object}"] .status[data-order]`)) {
    each.dataset.status = event.status;
    each.dataset.order = event.order;
    each.textContent = words.statuses[event.status] ?? event.status;
  }
  return true;
}

// A step of a task on the page moves without anything being fetched. Whether that was all there is to it.
function move(event) {
  let known = false;
  for (const place of document.querySelectorAll(`[data-task="${event.id}"]`)) {
    known = true;
    const bar = place.querySelector("progress");
    if (bar) bar.value = event.progress;
    const step = event.step && place.querySelector(`[data-step="${event.step.position}"]`);
    if (step) {
      step.dataset.status = event.step.status;
      step.querySelector(".note").textContent = event.step.text;
      step.querySelector(".state").textContent = words.steps[event.step.status] ?? event.step.status;
    }
  }
  return known && event.status === "running" && event.step?.status === "running";
}

function take(event) {
  if (event.topic === "vm" && event.order && !mark(event)) return;
  if (event.topic === "task") {
    ended(event);
    if (move(event)) return;
  }
  for (const region of regions()) if (concerns(region, event)) refresh(region);
}

document.body.addEventListener("htmx:beforeRequest", ({ target, detail }) => {
  if (detail.requestConfig?.triggeringEvent?.type === "refresh") busy.add(target);
});
document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (!detail.target.matches?.("[data-live]")) return;
  // The page's object is gone.
  if (detail.xhr.status === 404) { location.href = `/${location.pathname.split("/")[1]}`; return; }
  const made = new DOMParser().parseFromString(`<table>${detail.serverResponse}</table>`, "text/html");
  const whole = new DOMParser().parseFromString(detail.serverResponse, "text/html");
  if (isOld(made) || isOld(whole)) { detail.shouldSwap = false; again.add(detail.target); }
});
document.body.addEventListener("htmx:afterRequest", ({ target }) => {
  busy.delete(target);
  if (again.delete(target)) refresh(target);
});
document.body.addEventListener("htmx:afterSettle", ({ target }) => remember(target));

// `viewer`: whose page it is; undefined before somebody signed in.
export function follow(viewer) {
  if (viewer === undefined) return;
  remember(document);
  let polling = 0;
  let before = false;
  const lost = document.getElementById("lost");
  const handlers = {
    hello(event) {
      if (String(event.viewer) !== viewer) { location.reload(); return; }  // somebody else signed in
      clearInterval(polling);
      polling = 0;
      lost.hidden = true;
      document.body.dataset.connected = "1";
      // What happened while we were cut off; at first, what a task did since the page was made.
      if (before) for (const region of regions()) refresh(region, 0);
      else for (const region of document.querySelectorAll("[data-live]:has([data-task])")) refresh(region, 0);
      before = true;
    },
    lost() {
      delete document.body.dataset.connected;
      if (polling) return;
      polling = setInterval(() => {
        lost.hidden = false;
        for (const region of regions()) refresh(region, 0);
      }, POLL_MS);
    },
  };
  for (const topic of words.topics) handlers[topic] = take;
  // The page can be used before: to start the worker that listens holds a script up.
  setTimeout(() => subscribe(viewer, words.topics, handlers));
}
