// The VM's screen, by noVNC over the panel's WebSocket.
import RFB from "../vendor/novnc/core/rfb.js";

const place = document.getElementById("console");
const state = document.getElementById("console-state");
const known = place.dataset.origins.split(" ");
if (known.includes(location.origin)) connect();
else state.textContent = `This page is open at ${location.origin}, and the panel expects ${known.join(" or ")}: it refuses consoles of other addresses. Its administrator names the address that browsers use in PublicUrl (vmpanel.conf).`;

function connect() {
  const rfb = new RFB(place, `wss://${location.host}/console/${place.dataset.token}`);
  rfb.scaleViewport = true;
  rfb.addEventListener("connect", () => { state.textContent = "Connected"; place.dataset.connected = "1"; });
  rfb.addEventListener("disconnect", () => { state.textContent = "Disconnected. Load the page again for a new link."; });
  document.getElementById("ctrl-alt-del").addEventListener("click", () => rfb.sendCtrlAltDel());
}
