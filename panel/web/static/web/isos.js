// The form that sends an ISO image: the file itself is the body, and the page shows how far it is.

const live = document.querySelector("#live");

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
  for (const place of form.querySelectorAll("[data-error]")) place.textContent = "";
  const button = form.querySelector("button.primary");
  const progress = form.querySelector("progress");
  const asked = new URLSearchParams({ name: form.elements.name.value, title: form.elements.title.value });
  const request = new XMLHttpRequest();  // fetch() does not tell how much was sent
  request.open("POST", `${form.dataset.send}?${asked}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.setRequestHeader("X-CSRFToken", live.dataset.csrf);
  request.upload.onprogress = ({ loaded, total }) => { progress.value = loaded / total; };
  request.onloadend = () => {
    if (request.status === 201) { location.href = form.dataset.then; return; }
    if (request.status === 401) { location.reload(); return; }
    button.disabled = false;
    progress.hidden = true;
    const told = answered(request.responseText);
    const place = form.querySelector(`[data-error="${CSS.escape(told.field ?? "")}"]`) ?? form.querySelector('[data-error=""]');
    place.textContent = told.detail;
  };
  button.disabled = true;
  progress.hidden = false;
  request.send(form.elements.file.files[0]);
});

function answered(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { detail: "The upload broke off. Try again." };
  }
}
