// Live events of the panel, for all tabs of a browser over one connection: over HTTP/1.1 it has six for everything.
// The connection is held by a SharedWorker (events_worker.js), which outlives the tab that started it.

const PULSE_MS = 40_000;  // the worker sends something each 15 s; one that is silent has died
const RETRY_MS = 3_000;

// `viewer` is whose events they are. `on` has a function for each topic, for `hello` (connected, perhaps once more: what
// happened before is to be read) and for `lost`.
export function subscribe(viewer, topics, on) {
  const take = ({ kind, data }) => on[kind]?.(data);
  // A page that comes back from the browser's memory has missed what happened meanwhile.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  if (typeof SharedWorker === "function") attach(viewer, topics, take);
  else alone(topics, take);
}

function attach(viewer, topics, take) {
  const worker = new SharedWorker(new URL("./events_worker.js", import.meta.url), { name: `events of ${viewer}`, type: "module" });
  let silence = 0;
  function leave() {
    clearTimeout(silence);
    removeEventListener("pagehide", leave);
    worker.port.postMessage({ kind: "bye" });
    worker.port.close();
  }
  function again() {
    leave();
    take({ kind: "lost" });
    attach(viewer, topics, take);
  }
  function expect(milliseconds) {
    clearTimeout(silence);
    silence = setTimeout(again, milliseconds);
  }
  // Its script could not be read: the panel or the network was away.
  worker.onerror = () => expect(RETRY_MS);
  worker.port.onmessage = ({ data }) => { expect(PULSE_MS); take(data); };
  worker.port.postMessage({ kind: "topics", topics });
  expect(PULSE_MS);
  addEventListener("pagehide", leave);
}

// A browser without such workers: one connection a tab, while it is looked at.
function alone(topics, take) {
  let source = null;
  const look = () => {
    source?.close();
    source = document.hidden ? null : listen(topics, take);
  };
  document.addEventListener("visibilitychange", look);
  look();
}

// One connection. What ends it for good in the browser's eyes, such as an answer of a proxy, is tried again.
export function listen(topics, take) {
  let source = null;
  let later = 0;
  const open = () => {
    source = new EventSource("/events");
    for (const kind of ["hello", ...topics]) {
      source.addEventListener(kind, (event) => take({ kind, data: JSON.parse(event.data) }));
    }
    source.onerror = () => {
      take({ kind: "lost" });
      if (source.readyState === EventSource.CLOSED) later = setTimeout(open, RETRY_MS);
    };
  };
  open();
  return { close() { clearTimeout(later); source.close(); } };
}
