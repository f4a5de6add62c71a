// Security keys (WebAuthn): one is registered on the profile, one signs after the password.
// The panel's options and the browser's answers are JSON with base64url; browsers want and give bytes.
import { call, show } from "./panel.js";

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

function options(asked) {
  const found = { ...asked, challenge: bytes(asked.challenge) };
  if (asked.user) found.user = { ...asked.user, id: bytes(asked.user.id) };
  for (const list of ["excludeCredentials", "allowCredentials"]) {
    if (asked[list]) found[list] = asked[list].map((each) => ({ ...each, id: bytes(each.id) }));
  }
  return { publicKey: found };
}

function answer(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = text(credential.response[name]);
  }
  return { id: credential.id, rawId: text(credential.rawId), type: credential.type, response, clientExtensionResults: {} };
}

// Where the browser has no keys, or the user turned away, there is a sentence to read.
async function ask(form, make) {
  const failed = form.querySelector('[data-error=""]');
  failed.textContent = "";
  try {
    if (!window.PublicKeyCredential) throw new Error();
    return answer(await make());
  } catch (error) {
    failed.textContent = error.name === "InvalidStateError" ? "This key is registered already." : "No key answered. Try again.";
    return null;
  }
}

const entrance = document.querySelector("form[data-key-options]");
entrance?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const found = await ask(entrance, () => navigator.credentials.get(options(JSON.parse(entrance.dataset.keyOptions))));
  if (!found) return;
  entrance.elements.credential.value = JSON.stringify(found);
  entrance.submit();
});

const registration = document.querySelector("form[data-register-key]");
registration?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = registration.querySelector("button.primary");
  const refuse = (data) => {
    button.disabled = false;
    (registration.querySelector(`[data-error="${CSS.escape(data.field ?? "")}"]`) ?? registration.querySelector('[data-error=""]')).textContent = data.detail;
  };
  for (const place of registration.querySelectorAll("[data-error]")) place.textContent = "";
  button.disabled = true;
  const challenge = await call("POST", `${registration.dataset.registerKey}/challenge`, {});
  if (!challenge.ok) { refuse(challenge.data); return; }
  const credential = await ask(registration, () => navigator.credentials.create(options(challenge.data.options)));
  if (!credential) { button.disabled = false; return; }
  const made = await call("POST", registration.dataset.registerKey, { name: registration.elements.name.value, credential });
  if (!made.ok) refuse(made.data);
  else if (made.data.recovery_codes.length) show(registration, made.data.recovery_codes);
  else location.href = "/profile";
});
