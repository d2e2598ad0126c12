// @ts-check
/** What there is: each database with its tables. Made and dropped here, from whatever node, since nodes carry these calls to the leader. */
import { Once, post } from "../api.js";
import { curlButton } from "../copy.js";
import { ask, problemBox, toast } from "../dialogs.js";
import { fill, freshId, h } from "../dom.js";
import { plural, whole } from "../format.js";
import { link } from "../router.js";
import { store } from "../store.js";
import { reload } from "./catalogue.js";
import { newTable } from "./create.js";
import { columnsOf } from "./values.js";

const COLUMNS_SHOWN = 8;
const TABLES_SHOWN = 200; // of a database; thousands would hold up the browser at each change
const FIND_FROM = 20; // tables

/** @type {import("../router.js").Opener} */
export function openDatabases(main, route) {
  const only = route.path[0];
  const place = h("div");
  const find = h("input", { type: "search", "data-search": true, "aria-label": "Find a table", placeholder: "Find a table", class: "find", hidden: true });
  const crumbs = only !== undefined && h("ol", { class: "crumbs" }, h("li", {}, h("a", { href: "#/data" }, "Data")));
  main.append(
    h(
      "div",
      { class: "head" },
      h("div", { class: "head-text" }, crumbs, h("h1", {}, only ?? "Data"), !only && h("p", {}, "Databases and their tables, the same on every node.")),
      h("div", { class: "buttons" }, find, curlButton(() => ({ path: "/status" })), h("button", { type: "button", class: "main", on: { click: newDatabase } }, "New database…")),
    ),
    place,
  );
  let said = "";
  const show = () => {
    if (!store.status) return;
    const { databases, default_database: usual } = store.status;
    const part = find.value.trim().toLowerCase();
    const key = JSON.stringify([databases, usual, part]);
    if (key === said) return;
    said = key;
    const wanted = databases.filter((database) => only === undefined || database.name.toLowerCase() === only.toLowerCase());
    find.hidden = !part && wanted.every((database) => database.tables.length < FIND_FROM);
    fill(place, wanted.length ? wanted.map((database) => section(database, database.name === usual, part)) : nothing(only));
  };
  find.addEventListener("input", show);
  const stop = store.watch(["status"], show);
  const ask = () => reload().catch((error) => store.status || fill(place, problemBox(error, ask)));
  ask();
  return { update: () => undefined, close: stop };
}

/** @param {string | undefined} only */
function nothing(only) {
  if (only !== undefined) {
    return h("div", { class: "panel empty" }, h("h2", {}, `There is no database ${only}`), h("p", {}, "It may have been dropped. ", h("a", { href: "#/data" }, "See which there are"), "."));
  }
  return h(
    "div",
    { class: "panel empty" },
    h("h2", {}, "No database yet"),
    h("p", {}, "Make one, then a table in it. Whatever is made here is on the disks of a majority before this page says so."),
    h("p", { class: "buttons" }, h("button", { type: "button", class: "main", on: { click: newDatabase } }, "Make the first database…")),
  );
}

/** @param {{name: string, tables: import("../store.js").Table[]}} database @param {boolean} isUsual @param {string} part of the tables' names */
function section(database, isUsual, part) {
  const { name, tables } = database;
  const found = tables.filter((table) => table.name.toLowerCase().includes(part));
  const small = (/** @type {string} */ text, /** @type {() => void} */ click, kind = "") =>
    h("button", { type: "button", class: `small ${kind}`, on: { click }, "aria-label": `${text.replace("…", "")}, ${name}` }, text);
  const head = h(
    "div",
    { class: "panel-head" },
    h("h2", {}, h("a", { href: link(["data", name]) }, name)),
    isUsual && h("span", { class: "badge accent", title: "Calls that name no database mean this one" }, "default"),
    h("span", { class: "muted small" }, plural(tables.length, "table")),
    h("span", { class: "buttons" }, !isUsual && small("Make default…", () => makeUsual(name)), small("Drop…", () => dropDatabase(database), "danger"), small("New table…", () => newTable(name))),
  );
  const more = found.length > TABLES_SHOWN && h("p", { class: "cut" }, `The first ${TABLES_SHOWN} of ${whole(found.length)}. Find the others by a part of their name.`);
  const body = found.length
    ? [h("div", { class: "scroll", role: "region", "aria-label": `Tables of ${name}`, tabindex: "0" }, tablesOf(name, found.slice(0, TABLES_SHOWN))), more]
    : tables.length
    ? h("p", { class: "cut" }, `No name of a table here has “${part}” in it.`)
    : h("div", { class: "empty" }, h("h3", {}, "No table yet"), h("p", {}, "A table has columns with a type each; rows have a row_id of their own."));
  return h("section", { class: "panel database", "data-db": name }, head, body);
}

/** @param {string} db @param {import("../store.js").Table[]} tables */
function tablesOf(db, tables) {
  const rows = tables.map((table) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("a", { href: link(["data", db, table.name]) }, table.name)),
      h("td", { class: "number" }, whole(table.row_count)),
      h("td", { class: "columns" }, columnTags(table)),
      h("td", { class: "act" }, h("button", { type: "button", class: "small danger quiet-danger", "aria-label": `Drop the table ${table.name}`, on: { click: () => dropTable(db, table) } }, "Drop…")),
    ),
  );
  const heads = [h("th", { scope: "col" }, "Table"), h("th", { scope: "col", class: "number" }, "Rows"), h("th", { scope: "col" }, "Columns"), h("th", { scope: "col" }, h("span", { class: "unseen" }, "Drop"))];
  return h("table", { class: "tables" }, h("caption", { class: "unseen" }, `Tables of ${db}`), h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows));
}

/** @param {import("../store.js").Table} table */
function columnTags(table) {
  const columns = columnsOf(table);
  const rest = columns.length - COLUMNS_SHOWN;
  const shown = columns.slice(0, COLUMNS_SHOWN).map((column) =>
    h("span", { class: "column" }, column.name, column.type !== "any" && h("i", {}, column.type), column.index && h("i", { class: "index" }, "index")),
  );
  return [...shown, rest > 0 && h("span", { class: "muted small" }, `and ${rest} more`)];
}

function newDatabase() {
  const id = freshId("name");
  const name = h("input", { id, class: "mono", spellcheck: "false", autocapitalize: "none", maxlength: 63, required: true });
  const request = () => post("/init_database", JSON.stringify({ db_name: name.value }), { forward: "true" });
  const once = new Once();
  ask({
    title: "New database",
    body: [
      h("div", { class: "field" }, h("label", { for: id }, "Name"), name, h("p", { class: "hint" }, "Letters, digits and _, no digit first; at most 63.")),
      h("p", { class: "muted" }, "It becomes the default: calls that name no database mean this one."),
    ],
    yes: "Make it",
    start: [curlButton(request)],
    act: async () => {
      const answer = await once.send(request());
      await reload();
      toast(answer.created ? `Made the database ${answer.db}.` : `The database ${answer.db} was there; it is the default now.`);
    },
  });
  name.focus();
}

/** @param {string} name */
function makeUsual(name) {
  const request = post("/init_database", JSON.stringify({ db_name: name }), { forward: "true" });
  const once = new Once();
  ask({
    title: `${name} becomes the default`,
    body: [h("p", {}, `Calls that name no database mean ${name} from now on, for every client and on every node. Nothing in it changes.`)],
    yes: "Make it the default",
    start: [curlButton(() => request)],
    act: async () => {
      await once.send(request);
      await reload();
    },
  });
}

/** @param {{name: string, tables: import("../store.js").Table[]}} database */
function dropDatabase({ name, tables }) {
  const rows = tables.reduce((sum, table) => sum + table.row_count, 0);
  const request = post("/drop_database", JSON.stringify({ db_name: name }), { forward: "true" });
  drop(`Drop the database ${name}`, `${plural(tables.length, "table")} with ${plural(rows, "row")} are deleted on all nodes. There is no way back.`, name, request);
}

/** @param {string} db @param {import("../store.js").Table} table */
function dropTable(db, table) {
  const request = post("/delete_table", JSON.stringify({ db_name: db, table_name: table.name }), { forward: "true" });
  drop(`Drop the table ${table.name}`, `${plural(table.row_count, "row")} of ${db}.${table.name} are deleted on all nodes. There is no way back.`, table.name, request);
}

/** @param {string} title @param {string} sentence @param {string} typed @param {import("../api.js").Request} request */
function drop(title, sentence, typed, request) {
  const once = new Once();
  ask({
    title,
    body: [h("p", {}, sentence)],
    typed,
    yes: "Drop it",
    danger: true,
    start: [curlButton(() => request)],
    act: async () => {
      await once.send(request);
      await reload();
      toast(`Dropped ${typed}.`);
    },
  });
}
