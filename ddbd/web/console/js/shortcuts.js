// @ts-check
/** Keys that work everywhere but in a field: `g` and a letter goes to a view, `/` to the search, `?` lists them. */
import { showDialog } from "./dialogs.js";
import { h } from "./dom.js";
import { go } from "./router.js";

const PLACES = /** @type {Record<string, [string, string]>} */ ({
  c: ["#/cluster", "Cluster"],
  h: ["#/charts", "Charts"],
  d: ["#/data", "Data"],
  a: ["#/api", "API"],
});
const SECOND_KEY_MS = 1500;

/** @param {HTMLElement} button */
export function startShortcuts(button) {
  let first = 0;
  button.addEventListener("click", showShortcuts);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const follows = event.timeStamp - first < SECOND_KEY_MS && first > 0;
    first = event.key === "g" ? event.timeStamp : 0;
    if (follows && event.key in PLACES) go(PLACES[event.key][0]);
    else if (event.key === "?") showShortcuts();
    else if (event.key === "/") focusSearch(event);
  });
}

/** @param {KeyboardEvent} event */
function focusSearch(event) {
  const field = /** @type {HTMLInputElement | null} */ (document.querySelector("[data-search]"));
  if (!field) return;
  event.preventDefault();
  field.focus();
  field.select();
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLElement && (target.matches("input, select, textarea") || target.isContentEditable);
}

function showShortcuts() {
  const rows = Object.entries(PLACES).map(([key, [, name]]) => [["g", key], `Go to ${name}`]);
  const all = /** @type {[string[], string][]} */ ([
    ...rows,
    [["/"], "Search in the table, or in the list of tables or calls"],
    [["←", "→"], "Walk along a chart that has the focus; with Shift ten steps; Home and End"],
    [["Esc"], "Close a dialog, leave the chart's cursor"],
    [["?"], "This list"],
  ]);
  const list = all.flatMap(([keys, what]) => [
    h("dt", { class: "nowrap" }, keys.flatMap((key) => [h("kbd", {}, key), " "])),
    h("dd", {}, what),
  ]);
  showDialog({ title: "Keyboard shortcuts", body: [h("dl", { class: "keys" }, list)] });
}
