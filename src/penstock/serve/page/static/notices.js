// Errors and outcomes in words, at the top, never in the way; and the one dialog that asks for words.

import { find, h, icon } from "./dom.js";

const STAY_MS = 9000;

/** Says something; the same words are not said twice. */
export function tell(words, kind = "plain") {
  const box = find("notices");
  if ([...box.children].some((notice) => notice.dataset.words === words)) return;
  const close = h("button", { class: "quiet", "aria-label": "Dismiss", onclick: () => notice.remove() }, icon("close"));
  const notice = h("div", { class: `notice ${kind}`, "data-words": words }, h("p", {}, words), close);
  box.append(notice);
  setTimeout(() => notice.remove(), STAY_MS);
}

/** Runs `work`; what goes wrong is told, not thrown. Returns undefined then. */
export async function orTell(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") tell(error.message, "wrong");
    if (error.status === undefined && error.name !== "AbortError") console.error(error);
    return undefined;
  }
}

/** A form in a dialog; resolves to its values, or null when it was left. */
export function askFor(title, lead, fields, verb) {
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", {}, title),
    lead && h("p", { class: "lead" }, lead),
    fields,
    h(
      "div",
      { class: "verbs" },
      h("button", { type: "button", onclick: () => dialog.close("") }, "Cancel"),
      h("button", { class: "primary", value: "yes" }, verb),
    ),
  );
  const dialog = h("dialog", { "aria-label": title }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      done(dialog.returnValue === "yes" ? Object.fromEntries(new FormData(form)) : null);
      dialog.remove();
    });
  });
}
