// A SharedWorker: holds the browser's one connection to the panel's live events and hands them to every tab.

import { listen } from "./events.js";

const tabs = new Set();
let source = null;
let hello = null;  // what a tab that comes later is told at once; null while the connection is down

function tell(message) {
  for (const tab of tabs) tab.postMessage(message);
}

function take(message) {
  if (message.kind === "hello") hello = message;
  if (message.kind === "lost") hello = null;
  tell(message);
}

onconnect = ({ ports: [tab] }) => {
  tab.onmessage = ({ data }) => {
    if (data.kind === "bye") { tabs.delete(tab); return; }
    tabs.add(tab);
    source ??= listen(data.topics, take);
    if (hello) tab.postMessage(hello);
  };
};

setInterval(() => tell({ kind: "pulse" }), 15_000);
