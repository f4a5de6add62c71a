// The VM's screen, by noVNC over the panel's WebSocket.
import KeyTable from "../vendor/novnc/core/input/keysym.js";
import keysyms from "../vendor/novnc/core/input/keysymdef.js";
import RFB from "../vendor/novnc/core/rfb.js";

const RETRY_MS = 2000;
const TYPE_MS = 12;  // a guest's console loses what comes quicker
const place = document.getElementById("console");
const state = document.getElementById("console-state");
const again = document.getElementById("connect");
const control = (id, act) => document.getElementById(id).addEventListener("click", act);
const COMBINATIONS = {
  "Ctrl+Alt+F1": [KeyTable.XK_Control_L, KeyTable.XK_Alt_L, KeyTable.XK_F1],
  "Ctrl+Alt+F2": [KeyTable.XK_Control_L, KeyTable.XK_Alt_L, KeyTable.XK_F2],
  "Ctrl+C": [KeyTable.XK_Control_L, 0x63],
  "Ctrl+D": [KeyTable.XK_Control_L, 0x64],
  "Alt+Tab": [KeyTable.XK_Alt_L, KeyTable.XK_Tab],
  "Alt+F4": [KeyTable.XK_Alt_L, KeyTable.XK_F4],
  Esc: [KeyTable.XK_Escape],
  Tab: [KeyTable.XK_Tab],
  Super: [KeyTable.XK_Super_L],
};
let rfb = null;
let tries = 0;

function connect(token) {
  rfb = new RFB(place, `wss://${location.host}/console/${token}`);
  rfb.scaleViewport = document.getElementById("scale").getAttribute("aria-pressed") === "true";
  rfb.focusOnClick = true;
  rfb.addEventListener("connect", () => {
    state.textContent = place.dataset.connectedWord;
    place.dataset.connected = "1";
    again.classList.add("invisible");
    tries = 0;
    rfb.focus();
  });
  rfb.addEventListener("disconnect", () => {
    state.textContent = place.dataset.lostWord;
    delete place.dataset.connected;
    again.classList.remove("invisible");
    // Once by itself: a migration or a restart of the panel ends it.
    if (tries === 0) setTimeout(reconnect, RETRY_MS);
    tries += 1;
  });
}

async function reconnect() {
  if (place.dataset.connected) return;
  const headers = JSON.parse(document.body.getAttribute("hx-headers"));
  const answer = await fetch(place.dataset.link, { method: "POST", headers }).catch(() => null);
  if (answer?.ok) connect((await answer.json()).token);
}

function press(keys) {
  for (const key of keys) rfb.sendKey(key, null, true);
  for (const key of [...keys].reverse()) rfb.sendKey(key, null, false);
  rfb.focus();
}

function type(character) {
  rfb.sendKey(character === "\n" ? KeyTable.XK_Return : keysyms.lookup(character.codePointAt(0)), null);
}

control("connect", reconnect);
control("ctrl-alt-del", () => { rfb.sendCtrlAltDel(); rfb.focus(); });
control("keys", ({ target }) => { if (target.dataset.keys) press(COMBINATIONS[target.dataset.keys]); });
control("scale", ({ currentTarget }) => {
  rfb.scaleViewport = !rfb.scaleViewport;
  currentTarget.setAttribute("aria-pressed", String(rfb.scaleViewport));
});
control("fullscreen", () => document.fullscreenElement ? document.exitFullscreen() : document.getElementById("console-frame").requestFullscreen());
control("picture", () => rfb.toBlob((blob) => {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${place.dataset.name}.png` });
  link.click();
  URL.revokeObjectURL(link.href);
}));
document.getElementById("pasting").addEventListener("submit", async (event) => {
  event.preventDefault();
  const box = document.getElementById("pasted");
  for (const character of box.value) {
    type(character);
    await new Promise((next) => { setTimeout(next, TYPE_MS); });
  }
  box.value = "";
  rfb.focus();
});
// A phone shows its keyboard for a field alone.
const phone = document.getElementById("phone-keys");
control("keyboard", () => phone.focus());
phone.addEventListener("input", () => { for (const character of phone.value) type(character); phone.value = ""; });
phone.addEventListener("keydown", (event) => {
  const keys = { Enter: KeyTable.XK_Return, Backspace: KeyTable.XK_BackSpace, Tab: KeyTable.XK_Tab };
  if (keys[event.key]) { rfb.sendKey(keys[event.key], null); event.preventDefault(); }
});

if (place.dataset.origins.split(" ").includes(location.origin)) connect(place.dataset.token);
else state.textContent = place.dataset.refusedWord;
