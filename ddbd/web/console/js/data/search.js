// @ts-check
/** The form above the rows: a column, a comparison, a value. It changes the address, and the address the rows. */
import { fill, freshId, h } from "../dom.js";

const OPS = /** @type {[string, string][]} */ ([
  ["eq", "equals"], ["ne", "differs from"], ["lt", "is below"], ["le", "is at most"], ["gt", "is above"], ["ge", "is at least"],
  ["prefix", "begins with"], ["contains", "contains"],
]);

/** @param {(params: Record<string, string>) => void} search */
export function makeSearch(search) {
  const ids = [freshId("column"), freshId("op"), freshId("value")];
  const column = h("select", { id: ids[0] });
  const op = h("select", { id: ids[1] }, OPS.map(([name, words]) => h("option", { value: name }, words)));
  const value = h("input", { id: ids[2], type: "search", class: "mono", "data-search": true, spellcheck: "false", autocapitalize: "none" });
  const clear = h("button", { type: "button", hidden: true, on: { click: () => search({ column: "", op: "", value: "" }) } }, "All rows");
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    search({ column: column.value, op: op.value, value: value.value });
  };
  const field = (/** @type {string} */ id, /** @type {string} */ label, /** @type {HTMLElement} */ control, kind = "") =>
    h("div", { class: `field ${kind}` }, h("label", { for: id }, label), control);
  const element = h(
    "form",
    { class: "search", role: "search", "aria-label": "Search in the table", on: { submit } },
    field(ids[0], "Column", column),
    field(ids[1], "Comparison", op),
    field(ids[2], "Value", value, "grow"),
    h("button", { type: "submit" }, "Search"),
    clear,
  );
  let listed = "";
  let told = "";
  /** @param {import("./values.js").Column[]} columns @param {URLSearchParams} params */
  const update = (columns, params) => {
    const names = ["row_id", ...columns.map((one) => one.name)];
    if (names.join() !== listed) {
      const chosen = column.value;
      fill(column, names.map((name) => h("option", { value: name }, name)));
      column.value = names.includes(chosen) ? chosen : names[Math.min(1, names.length - 1)];
      listed = names.join();
      told = "";
    }
    const now = params.toString();
    if (now === told) return; // what somebody types is left alone
    told = now;
    clear.hidden = !params.has("column");
    if (!params.has("column")) return;
    column.value = params.get("column") ?? "";
    op.value = params.get("op") ?? "eq";
    value.value = params.get("value") ?? "";
  };
  return { element, update };
}
