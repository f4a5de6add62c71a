// Keys: Ctrl-K and ? open the palette, / the search of the list; arrows go through what it found.

const typing = (element) => element.matches("input, textarea, select, [contenteditable]") || element.closest("#console");

function open() {
  const button = document.getElementById("search-everywhere");
  if (button) htmx.trigger(button, "click");
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && !event.target.closest("#console")) {
    event.preventDefault();
    open();
    return;
  }
  const palette = event.target.closest("[data-palette]");
  if (palette) { walk(palette, event); return; }
  if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey || event.target.closest(".modal.show")) return;
  const search = document.querySelector("main [type=search]");
  if (event.key === "/" && search) { event.preventDefault(); search.focus(); }
  if (event.key === "?") { event.preventDefault(); open(); }
});

const STEPS = { ArrowDown: 1, ArrowUp: -1, Enter: 0 };

function walk(palette, event) {
  const items = [...palette.querySelectorAll("#found a, #found button")];
  const at = items.indexOf(document.activeElement);
  const step = STEPS[event.key];
  // Enter on what is chosen is the browser's own.
  if (step === undefined || (step === 0 && at >= 0)) return;
  event.preventDefault();
  if (step === 0) items[0]?.click();
  else items[(at + step + items.length) % items.length]?.focus();
}
