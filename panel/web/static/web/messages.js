// Short messages in the corner. `words` are sentences in the reader's language, which the page brings along.

export const words = JSON.parse(document.getElementById("words")?.textContent ?? "{}");
const SHOWN_MS = 8000;

// `to`: the page that tells more.
export function say(text, { kind = "secondary", to = "" } = {}) {
  const toast = document.createElement("div");
  toast.className = `toast align-items-center text-bg-${kind}`;
  toast.setAttribute("role", kind === "danger" ? "alert" : "status");
  const row = Object.assign(document.createElement("div"), { className: "d-flex" });
  const body = Object.assign(document.createElement("div"), { className: "toast-body" });
  body.append(to ? Object.assign(document.createElement("a"), { href: to, className: "text-reset", textContent: text }) : text);
  const close = Object.assign(document.createElement("button"), { type: "button", className: "btn-close btn-close-white me-2 m-auto" });
  close.setAttribute("aria-label", words.close);
  close.dataset.bsDismiss = "toast";
  row.append(body, close);
  toast.append(row);
  document.getElementById("toasts").append(toast);
  toast.addEventListener("hidden.bs.toast", () => toast.remove());
  bootstrap.Toast.getOrCreateInstance(toast, { delay: SHOWN_MS }).show();
}
