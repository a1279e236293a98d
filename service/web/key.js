// The key of a service that wants one: asked for once, kept until the tab is closed.

import { text } from "./view.js";

const PLACE = "nbest-key";

export const key = () => sessionStorage.getItem(PLACE);

/** Asks for a key and keeps it; whether one was given. `words` say why. */
export function askForKey(words) {
  sessionStorage.removeItem(PLACE);
  const dialog = text("dialog", "card", "");
  const form = document.createElement("form");
  const label = text("label", "", "Key of this service");
  const field = Object.assign(document.createElement("input"), { type: "password", autocomplete: "off", required: true });
  field.id = label.htmlFor = "service-key";
  field.pattern = "\\s*[!-~]+\\s*"; // what a header can carry
  const use = Object.assign(text("button", "primary", "Use it"), { type: "submit" });
  const leave = Object.assign(text("button", "", "Cancel"), { type: "button" });
  const row = text("div", "row", "");
  row.append(use, leave);
  form.append(text("p", "hint", words), label, field, row);
  dialog.append(form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    const end = (given) => {
      if (given) sessionStorage.setItem(PLACE, given);
      dialog.remove();
      resolve(Boolean(given));
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      end(field.value.trim());
    });
    leave.addEventListener("click", () => end(""));
    dialog.addEventListener("cancel", () => end(""));
  });
}
