// @ts-check
/** A new table: a name, and columns with a type and perhaps an index each. */
import { Once, post } from "../api.js";
import { curlButton } from "../copy.js";
import { ask, toast } from "../dialogs.js";
import { freshId, h } from "../dom.js";
import { go, link } from "../router.js";
import { reload } from "./catalogue.js";
import { TYPES } from "./values.js";

/** @param {string} db */
export function newTable(db) {
  const id = freshId("name");
  const name = h("input", { id, class: "mono", spellcheck: "false", autocapitalize: "none", maxlength: 63 });
  const list = h("ol", { class: "new-columns" });
  const add = (focus = true) => {
    const row = columnRow();
    list.append(row.element);
    if (focus) row.name.focus();
  };
  const columns = () =>
    [...list.children].map((row) => {
      const [called, type, index] = /** @type {[HTMLInputElement, HTMLSelectElement, HTMLInputElement]} */ ([...row.querySelectorAll("input, select")]);
      return { name: called.value, type: type.value, ...(index.checked ? { index: true } : {}) };
    });
  // A row that was left empty is no column; the node says what is wrong with all others.
  const request = () => {
    const given = columns().filter((column) => column.name !== "");
    return post("/create_table", JSON.stringify({ db_name: db, table_name: name.value, columns: given }), { forward: "true" });
  };
  const once = new Once();
  ask({
    title: `New table in ${db}`,
    body: [
      h("div", { class: "field" }, h("label", { for: id }, "Name"), name),
      h("div", {}, h("p", { class: "label" }, "Columns"), list, h("p", { class: "hint small muted" }, "Every row has a row_id besides. An index makes searches for equal values fast, and each write a little dearer.")),
      h("p", {}, h("button", { type: "button", class: "small", on: { click: () => add() } }, "Add a column")),
    ],
    yes: "Make the table",
    start: [curlButton(request)],
    act: async () => {
      const answer = await once.send(request());
      await reload();
      toast(answer.created ? `Made the table ${answer.table}.` : `The table ${answer.table} was there with the same columns.`);
      go(link(["data", answer.db, answer.table]));
    },
  });
  add(false);
  name.focus();
}

function columnRow() {
  const name = h("input", { class: "mono", placeholder: "column", "aria-label": "Column name", spellcheck: "false", autocapitalize: "none", maxlength: 63 });
  const type = h("select", { "aria-label": "Type" }, TYPES.map((one) => h("option", { value: one }, one)));
  const index = h("input", { type: "checkbox" });
  const away = h("button", { type: "button", class: "quiet icon", "aria-label": "Remove this column", on: { click: () => element.remove() } }, "×");
  const element = h("li", {}, name, type, h("label", { class: "choice" }, index, "Index"), away);
  return { element, name };
}
