// Asks before something is done that cannot be undone.

import { describe } from "./api.js";
import { make, Notice } from "./dom.js";

let dialogs = 0;

// Shows what is to be done, with fields in it, and does it once that is confirmed: `run` is a
// promise of what came of it. If that fails, the dialog says so and stays. Resolves to what `run`
// did, or to undefined if nothing was done.
export function confirm({ title, text, content, action, isDanger = false, run }) {
  dialogs += 1;
  const id = `dialog-${dialogs}`;
  const notice = new Notice();
  const cancel = make("button", { type: "button", text: "Cancel" });
  const go = make("button", { class: isDanger ? "danger" : "main", text: action });
  const form = make("form", { method: "dialog" },
    make("h2", { id, text: title }), text && make("p", { id: `${id}-text`, text }),
    content, notice.element, make("div", { class: "row end" }, cancel, go));
  const dialog = make("dialog", {
    "aria-labelledby": id, "aria-describedby": text && `${id}-text`,
  }, form);
  document.body.append(dialog);
  return new Promise((done) => {
    let result;
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(result);
    });
    form.addEventListener("submit", async (submitted) => {
      submitted.preventDefault();
      if (go.disabled) return;
      go.disabled = true;
      notice.say("");
      try {
        result = await run();
        dialog.close();
      } catch (error) {
        notice.say(describe(error));
        go.disabled = false;
      }
    });
    dialog.showModal();
    // The one that does nothing, unless there is something to fill in.
    if (!content) cancel.focus();
  });
}

// A field with its label.
export function field(label, input, hint) {
  return make("label", { class: "field" },
    make("span", { class: "label", text: label }), input,
    hint && make("span", { class: "hint", text: hint }));
}
