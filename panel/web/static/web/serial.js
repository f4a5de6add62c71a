// The VM's serial port, by xterm.js over the panel's WebSocket. It is connected again when the guest, the panel or the node
// was away; where somebody else has it, one asks for it.
import { FitAddon } from "../vendor/xterm/addon-fit.js";
import { Terminal } from "../vendor/xterm/xterm.js";
import { allowTerminalStyles } from "./terminal_styles.js";

const RETRY_MS = 1000;
const SLOWEST_RETRY_MS = 5000;
const SCROLL_BACK = 10_000;
const [REFUSED, MISSING, TAKEN, STOPPED, FAILED] = [4403, 4404, 4409, 4410, 4500];
const place = document.getElementById("console");
const state = document.getElementById("console-state");
const button = (id) => document.getElementById(id);
const SAID = { [REFUSED]: "ended", [MISSING]: "missing", [TAKEN]: "taken", [STOPPED]: "stopped", [FAILED]: "failed" };

allowTerminalStyles();
const terminal = new Terminal({
  scrollback: SCROLL_BACK, cursorBlink: true, fontSize: 14, fontFamily: "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
  theme: { background: "#000000" },
});
const fit = new FitAddon();
terminal.loadAddon(fit);
terminal.open(place);
terminal.textarea.setAttribute("aria-label", place.dataset.label);
fit.fit();
new ResizeObserver(() => fit.fit()).observe(place);

let socket = null;
let wait = RETRY_MS;
let later = 0;

function say(word) {
  state.textContent = place.dataset[`${word}Word`];
  place.toggleAttribute("data-connected", word === "connected");
  button("take").hidden = word !== "taken";
  button("connect").classList.toggle("invisible", ["connected", "refused", "ended"].includes(word));
}

function open(token) {
  const opened = new WebSocket(`wss://${location.host}/console/${token}`, ["binary"]);
  socket = opened;
  socket.binaryType = "arraybuffer";
  let connected = false;
  socket.onmessage = ({ data }) => terminal.write(new Uint8Array(data));
  // A socket that is opened and closed at once says by its code why there is no port.
  socket.onopen = () => setTimeout(() => {
    if (opened.readyState !== WebSocket.OPEN) return;
    connected = true;
    wait = RETRY_MS;
    say("connected");
    terminal.focus();
  }, 50);
  socket.onclose = ({ code }) => {
    socket = null;
    say(SAID[code] ?? "lost");
    if ([REFUSED, MISSING, TAKEN].includes(code)) return;
    later = setTimeout(() => connect(), connected ? RETRY_MS : wait);
    if (!connected) wait = Math.min(wait * 2, SLOWEST_RETRY_MS);
  };
}

async function connect(kind = "serial") {
  clearTimeout(later);
  if (socket) return;
  // Who does not look at it does not need it.
  if (document.hidden) { document.addEventListener("visibilitychange", () => connect(kind), { once: true }); return; }
  const headers = JSON.parse(document.body.getAttribute("hx-headers"));
  const answer = await fetch(`${place.dataset.link}?kind=${kind}`, { method: "POST", headers }).catch(() => null);
  if (answer?.ok) open((await answer.json()).token);
  else if (answer && answer.status < 500) say("ended");
  else { say("lost"); later = setTimeout(() => connect(), SLOWEST_RETRY_MS); }
}

function send(text) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(new TextEncoder().encode(text));
}

function save() {
  const buffer = terminal.buffer.normal;
  const lines = Array.from({ length: buffer.length }, (_, number) => buffer.getLine(number).translateToString(true));
  const text = `${lines.join("\n").trimEnd()}\n`;
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: `${place.dataset.name}.txt`,
  });
  link.click();
  URL.revokeObjectURL(link.href);
}

const control = (id, act) => button(id).addEventListener("click", (event) => { act(event); terminal.focus(); });
terminal.onData(send);
terminal.onBinary((text) => socket?.send(Uint8Array.from(text, (sign) => sign.charCodeAt(0))));
control("connect", () => connect());
control("take", () => connect("take-serial"));
control("clear", () => terminal.clear());
control("save", save);
control("size", () => send(`stty rows ${terminal.rows} cols ${terminal.cols}\r`));
control("keys", ({ target }) => {
  if (target.dataset.keys) send(target.dataset.keys.replace(/../g, (byte) => String.fromCharCode(parseInt(byte, 16))));
});
control("fullscreen", () => document.fullscreenElement ? document.exitFullscreen() : button("console-frame").requestFullscreen());

if (place.dataset.origins.split(" ").includes(location.origin)) open(place.dataset.token);
else say("refused");
