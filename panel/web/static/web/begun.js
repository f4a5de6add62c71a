// What somebody began in this tab: its end is told wherever the tab is then.

import { say, words } from "./messages.js";

const KEY = "begun";
const KINDS = { done: "success", failed: "danger", stuck: "danger", cancelled: "secondary" };
const begun = () => new Set(JSON.parse(sessionStorage.getItem(KEY) ?? "[]"));

// `to`: the page of its task.
export function remember(to) {
  const id = /^\/tasks\/(\d+)$/.exec(to ?? "")?.[1];
  if (id) sessionStorage.setItem(KEY, JSON.stringify([...begun().add(id)].slice(-50)));
}

export function ended(event) {
  const known = begun();
  if (!(event.status in KINDS) || !known.delete(String(event.id))) return;
  sessionStorage.setItem(KEY, JSON.stringify([...known]));
  say(`${event.title}: ${words.tasks[event.status]}`, { kind: KINDS[event.status], to: `/tasks/${event.id}` });
}
