// The VM's screen, by noVNC over the panel's WebSocket.
import RFB from "/assets/vendor/novnc/core/rfb.js";

const place = document.getElementById("console");
const state = document.getElementById("console-state");
const rfb = new RFB(place, `wss://${location.host}/console/${place.dataset.token}`);
rfb.scaleViewport = true;
rfb.addEventListener("connect", () => { state.textContent = "Connected"; place.dataset.connected = "1"; });
rfb.addEventListener("disconnect", () => { state.textContent = "Disconnected. Load the page again for a new link."; });
document.getElementById("ctrl-alt-del").addEventListener("click", () => rfb.sendCtrlAltDel());
