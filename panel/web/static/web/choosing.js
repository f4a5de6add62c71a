// What is chosen in a list outlives its being read anew and the turning of its pages.

import { words } from "./messages.js";

const chosen = new Set();

export function show() {
  const bar = document.getElementById("group");
  if (!bar) return;
  for (const box of document.querySelectorAll("[data-choose]")) {
    box.checked = chosen.has(box.dataset.choose);
    box.closest("tr").classList.toggle("chosen", box.checked);
  }
  bar.hidden = !chosen.size;
  bar.querySelector(".count").textContent = `${chosen.size} ${words.chosen}`;
  // The buttons of the group send them along.
  bar.querySelector("[name=ids]").value = [...chosen].join(",");
}

document.addEventListener("change", ({ target }) => {
  const all = target.closest("[data-choose-all]");
  const boxes = all ? document.querySelectorAll("[data-choose]") : [target.closest("[data-choose]")];
  for (const box of boxes) {
    if (!box) return;
    if (all ? all.checked : box.checked) chosen.add(box.dataset.choose); else chosen.delete(box.dataset.choose);
  }
  show();
});

document.body.addEventListener("htmx:afterSettle", show);
document.body.addEventListener("choose-none", () => { chosen.clear(); show(); });
