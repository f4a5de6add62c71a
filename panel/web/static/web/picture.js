// The picture of a VM's screen, read anew while it is looked at.
const AGAIN_MS = 5000;
const picture = () => document.querySelector("img[data-picture]");

function look() {
  const image = picture();
  if (image && !document.hidden) image.src = `${image.dataset.picture}?${Date.now()}`;
}

const show = (event, is) => {
  if (!event.target.matches?.("img[data-picture]")) return;
  const section = event.target.closest("section");
  // A place that is there stays: the page would jump.
  if (is) section.dataset.shown = "1";
  section.dataset.seen = is ? "1" : "";
};
addEventListener("load", (event) => show(event, true), true);
addEventListener("error", (event) => show(event, false), true);
setInterval(look, AGAIN_MS);
look();
