// @ts-check
/** Rows as a table. The old rows stay, dimmed, until the new ones are there, so that nothing jumps. */
import { fill, h, setAttribute } from "../dom.js";
import { cell } from "./cell.js";
import { escaped } from "./values.js";

/** @typedef {import("./values.js").Column} Column */

/** @param {{open: (rowId: string) => string, remove: (rowId: string, version: any) => void}} acts */
export function makeGrid(acts) {
  const head = h("thead");
  const body = h("tbody");
  const table = h("table", { class: "rows" }, h("caption", { class: "unseen" }, "Rows"), head, body);
  const scroll = h("div", { class: "rows-scroll", role: "region", "aria-label": "Rows", tabindex: "0" }, table);
  const empty = h("div", { class: "empty", hidden: true });
  const element = h("div", {}, scroll, empty);

  /** @param {Map<string, any>[]} rows @param {Column[]} columns @param {[string, string] | null} words said where there are none */
  const show = (rows, columns, words) => {
    const all = withColumnsOf(rows[0], columns);
    fill(head, h("tr", {}, heading({ name: "row_id", type: "text", index: true }), all.map(heading), h("th", { scope: "col", class: "number" }, "version", h("small")), h("th", { scope: "col" }, h("span", { class: "unseen" }, "Delete"))));
    fill(body, rows.map((row) => line(row, all, acts)));
    scroll.scrollTop = 0;
    scroll.hidden = rows.length === 0;
    empty.hidden = rows.length > 0 || words === null;
    if (words) fill(empty, h("h2", {}, words[0]), h("p", {}, words[1]));
  };
  return { element, show, setBusy: (/** @type {boolean} */ isBusy) => setAttribute(table, "aria-busy", String(isBusy)) };
}

/** The columns, and those that a row has besides: the catalogue of this page may be older than the row. @param {Map<string, any> | undefined} row @param {Column[]} columns */
export function withColumnsOf(row, columns) {
  const known = new Set(["row_id", "_version", ...columns.map((column) => column.name)]);
  const others = [...(row?.keys() ?? [])].filter((name) => !known.has(name));
  return [...columns, ...others.map((name) => ({ name, type: "any", index: false }))];
}

/** @param {Column} column */
function heading({ name, type, index }) {
  const isNumber = type === "integer" || type === "real";
  return h("th", { scope: "col", class: isNumber ? "number" : null }, name, h("small", { class: "muted" }, type === "any" ? "" : type, index && name !== "row_id" && h("b", {}, " index")));
}

/** @param {Map<string, any>} row @param {Column[]} columns @param {{open: (rowId: string) => string, remove: (rowId: string, version: any) => void}} acts */
function line(row, columns, acts) {
  const rowId = String(row.get("row_id"));
  const shown = nameOf(rowId);
  const version = row.get("_version");
  const cells = columns.map(({ name, type }) =>
    h("td", { class: type === "integer" || type === "real" ? "number" : null }, cell(row.has(name) ? row.get(name) : undefined, type, `${name} of ${shown}`)),
  );
  return h(
    "tr",
    { "data-row": rowId },
    h("th", { scope: "row" }, h("a", { href: acts.open(rowId), title: shown }, h("bdi", {}, shown))),
    cells,
    h("td", { class: "number muted" }, String(version ?? "")),
    h("td", { class: "act" }, h("button", { type: "button", class: "small danger quiet-danger", "aria-label": `Delete the row ${shown}`, on: { click: () => acts.remove(rowId, version) } }, "Delete…")),
  );
}

/** A row_id as it can be read: in quotes where it begins or ends with a space, or holds what cannot be seen. @param {string} rowId */
export function nameOf(rowId) {
  const inQuotes = escaped(rowId);
  return /^\s|\s$/.test(rowId) || inQuotes.includes("\\") ? inQuotes : rowId;
}
