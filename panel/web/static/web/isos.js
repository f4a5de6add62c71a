// The form that sends an ISO image: the file itself is the body, and the page shows how far it is.

const token = () => JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];

document.addEventListener("change", (event) => {
  const input = event.target.closest('[data-send] input[type="file"]');
  if (!input?.files.length) return;
  const name = input.form.elements.name;
  const stem = input.files[0].name.toLowerCase().replace(/\.iso$/, "");
  if (!name.value) name.value = stem.replace(/[^a-z0-9.-]+/g, "-").replace(/^[.-]+/, "").slice(0, 64);
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("[data-send]");
  if (!form) return;
  event.preventDefault();
  for (const place of form.querySelectorAll("[data-wrong]")) place.textContent = "";
  const button = form.querySelector("button.btn-primary");
  const progress = form.querySelector("progress");
  const asked = new URLSearchParams({ name: form.elements.name.value, title: form.elements.title.value });
  const request = new XMLHttpRequest();  // fetch() does not tell how much was sent
  request.open("POST", `${form.dataset.send}?${asked}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.setRequestHeader("X-CSRFToken", token());
  request.upload.onprogress = ({ loaded, total }) => { progress.value = loaded / total; };
  request.onloadend = () => {
    if (request.status === 201 || request.status === 401) { location.reload(); return; }
    button.disabled = false;
    progress.hidden = true;
    const told = answered(request.responseText, form.dataset.broken);
    const place = form.querySelector(`[data-wrong="${CSS.escape(told.field ?? "")}"]`) ?? form.querySelector('[data-wrong=""]');
    place.textContent = told.detail;
  };
  button.disabled = true;
  progress.hidden = false;
  request.send(form.elements.file.files[0]);
});

function answered(text, broken) {
  try {
    return JSON.parse(text);
  } catch {
    return { detail: broken };
  }
}
