// Signing in: by the printed link, whose token is used once and leaves the address bar, or by typing a key.

import { Refusal, ask, send } from "./api.js";
import { find, h, icon } from "./dom.js";

/** The token of `/#login=TOKEN` (or `?login=`), taken out of the address so that it is neither seen nor kept. */
export function takeToken() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const query = new URLSearchParams(location.search);
  const token = fragment.get("login") ?? query.get("login");
  if (token === null) return null;
  fragment.delete("login");
  query.delete("login");
  const rest = [query.size && `?${query}`, fragment.size && `#${fragment}`].filter(Boolean).join("");
  history.replaceState(null, "", location.pathname + rest);
  return token;
}

/** Exchange the token for a cookie; returns what went wrong in words, or nothing. */
export async function useToken(token) {
  try {
    await send("/v1/login", { token });
    return "";
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return error.status === 401 || error.status === 403 || error.status === 422
      ? "This link was used already, or it is older than 10 minutes. Run `penstock login` for another, or type a key."
      : error.message;
  }
}

/** Shows the form; resolves once the plant has taken a key. */
export function signIn(complaint = "") {
  const room = find("signin");
  document.body.dataset.stage = "signin";
  room.hidden = false;
  return new Promise((done) => {
    const wrong = h("p", { class: "wrong", role: "alert" }, complaint);
    const key = h("input", {
      name: "key",
      type: "password",
      required: true,
      autocomplete: "current-password",
      "aria-label": "API key",
      spellcheck: "false",
    });
    const form = h(
      "form",
      {
        onsubmit: (event) => {
          event.preventDefault();
          enter(key, wrong, done);
        },
      },
      h("div", { class: "brand" }, icon("mark"), h("h1", {}, "Penstock")),
      h(
        "p",
        { class: "lead" },
        "Open the link that ",
        h("code", {}, "penstock up"),
        " printed, or sign in with an API key.",
      ),
      h("label", {}, "API key", key),
      wrong,
      h("button", { class: "primary" }, "Sign in"),
      h(
        "p",
        { class: "hint" },
        "No key at hand? On the plant's machine, ",
        h("code", {}, "penstock login"),
        " prints a fresh link.",
      ),
    );
    room.replaceChildren(form);
    key.focus();
  });
}

async function enter(key, wrong, done) {
  wrong.textContent = "";
  try {
    await send("/v1/login", { key: key.value.trim() });
    find("signin").hidden = true;
    done();
  } catch (error) {
    wrong.textContent = error.status === 401 ? "The plant does not know this key, or it was revoked." : error.message;
    key.select();
  }
}

/** Ends the session on the plant too, not only in this browser. */
export async function signOut() {
  await ask("/v1/login", { method: "DELETE" });
  location.assign(location.pathname);
}
