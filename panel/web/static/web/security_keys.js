// Security keys (WebAuthn): one is registered in a dialog of the profile, one signs after the password.
// The panel's options and the browser's answers are JSON with base64url; browsers want and give bytes.

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
async function ask(form) {
  const failed = form.querySelector("[data-key-error]");
  failed.textContent = "";
  try {
    if (!window.PublicKeyCredential) throw new Error();
    const asked = options(JSON.parse(form.dataset.options));
    return answer(await navigator.credentials[form.dataset.key](asked));
  } catch (error) {
    failed.textContent = error.name === "InvalidStateError" ? failed.dataset.known : failed.dataset.silent;
    return null;
  }
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-key]");
  if (!form) return;
  event.preventDefault();
  const found = await ask(form);
  if (!found) return;
  form.elements.credential.value = JSON.stringify(found);
  // A dialog's form is htmx's, which waits for the answer.
  if (form.dataset.key === "create") htmx.trigger(form, "answered"); else form.submit();
});
