// @ts-check
/** A value in a table: short, and whole on demand. */
import { copy } from "../copy.js";
import { showDialog } from "../dialogs.js";
import { h } from "../dom.js";
import { plural } from "../format.js";
import { stringify } from "../json.js";
import { shown } from "./values.js";

const CHARS_SHOWN = 120;

/** @param {any} value @param {string} type @param {string} what `column of row`, for those who do not see the table */
export function cell(value, type, what) {
  const { text, look } = shown(value, type);
  const title = look === "missing" ? "this row was read without the column" : null;
  if (text.length <= CHARS_SHOWN) return h("bdi", { class: `value ${look}`, title }, text);
  const all = h("button", { type: "button", class: "quiet small more", on: { click: () => showAll(value, what) } }, "all", h("span", { class: "unseen" }, ` of ${what}`));
  return h("span", { class: "long-value" }, h("bdi", { class: `value ${look}` }, `${[...text.slice(0, CHARS_SHOWN)].join("")}…`), all);
}

/** @param {any} value @param {string} what */
function showAll(value, what) {
  const text = typeof value === "string" ? value : stringify(value, 2);
  showDialog({
    title: what,
    wide: true,
    body: [h("p", { class: "muted small" }, plural(text.length, "character")), h("pre", { class: "long", tabindex: "0" }, text)],
    foot: [
      h("span", { class: "start" }, h("button", { type: "button", on: { click: () => copy(text, "Copied.") } }, "Copy")),
      h("button", { type: "button", on: { click: (/** @type {Event} */ event) => /** @type {HTMLElement} */ (event.target).closest("dialog")?.close() } }, "Close"),
    ],
  });
}
