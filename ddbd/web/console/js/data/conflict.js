// @ts-check
/** Two versions of a row: theirs, which is written, and ours, which is not. Value by value the user chooses. */
import { freshId, h } from "../dom.js";
import { parse, same } from "../json.js";
import { shown } from "./values.js";

/** @typedef {import("./values.js").Column} Column */

/**
 * @param {object} clash
 * @param {Column[]} clash.columns
 * @param {Map<string, any>} clash.before the row as it was shown
 * @param {Map<string, any>} clash.theirs the row as it is now
 * @param {[name: string, json: string][]} clash.mine
 * @param {any} clash.version of theirs
 * @param {(given: [string, string][]) => void} clash.write
 * @param {() => void} clash.discard
 */
export function conflictBox({ columns, before, theirs, mine, version, write, discard }) {
  const ours = new Map(mine);
  /** @type {Map<string, HTMLInputElement>} */
  const picks = new Map();
  const rows = [];
  for (const { name, type } of columns) {
    const their = theirs.get(name) ?? null;
    const our = ours.has(name) ? parse(/** @type {string} */ (ours.get(name))) : before.get(name) ?? null;
    if (same(their, our)) continue;
    const group = freshId("pick");
    const isOurs = ours.has(name);
    const take = h("input", { type: "radio", name: group, checked: isOurs, disabled: !isOurs });
    const leave = h("input", { type: "radio", name: group, checked: !isOurs });
    if (isOurs) picks.set(name, take);
    rows.push(
      h(
        "tr",
        {},
        h("th", { scope: "row" }, name),
        h("td", {}, h("label", {}, take, value(our, type), !isOurs && h("span", { class: "muted small" }, "as it was"))),
        h("td", {}, h("label", {}, leave, value(their, type))),
      ),
    );
  }
  const chosen = () => mine.filter(([name]) => picks.get(name)?.checked);
  return h(
    "div",
    { class: "conflict" },
    h("h3", {}, "Somebody else changed this row meanwhile"),
    h("p", {}, `It has version ${version} now. Nothing of yours is written yet: choose for each value that differs.`),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Column"), h("th", { scope: "col" }, "Yours"), h("th", { scope: "col" }, "Theirs, written"))), h("tbody", {}, rows))),
    h(
      "p",
      { class: "buttons" },
      h("button", { type: "button", class: "main", on: { click: () => write(chosen()) } }, "Write what is chosen"),
      h("button", { type: "button", on: { click: discard } }, "Discard mine"),
    ),
  );
}

/** @param {any} of @param {string} type */
function value(of, type) {
  const { text, look } = shown(of, type);
  return h("bdi", { class: `value ${look}` }, text);
}
