// @ts-check
/**
 * One row in a form: a new one, or one that is there. A change is written only over the version that was shown; where somebody else was
 * faster, both versions are shown and the user chooses. Only what was changed is sent, so values that were not touched stay as they are.
 */
import { Once, post, Problem, text } from "../api.js";
import { curlButton } from "../copy.js";
import { ask, problemBox, showDialog, toast } from "../dialogs.js";
import { fill, freshId, h } from "../dom.js";
import { parse, same, stringify } from "../json.js";
import { conflictBox } from "./conflict.js";
import { makeField } from "./field.js";
import { nameOf, withColumnsOf } from "./grid.js";
import { objectOf } from "./values.js";

/** @typedef {import("./values.js").Column} Column */
/** @typedef {{db: string, table: string, rowId: string | null, columns: Column[], done: () => Promise<void>, closed: () => void}} Wish */

/** @param {Wish} wish @returns {HTMLDialogElement} */
export function openEditor(wish) {
  const form = h("div", { class: "editor" }, h("p", { class: "loading" }, "Loading…"));
  const notice = h("div", { role: "alert" });
  const save = h("button", { type: "submit", class: "main", disabled: true }, wish.rowId === null ? "Insert" : "Save");
  const start = h("span", { class: "start" });
  const cancel = h("button", { type: "button", on: { click: () => dialog.close() } }, "Cancel");
  let submit = () => {};
  const dialog = showDialog({
    title: wish.rowId === null ? `New row in ${wish.table}` : `Row ${nameOf(wish.rowId)}`,
    wide: true,
    body: [notice, form],
    foot: [start, cancel, save],
    closed: wish.closed,
    submit: () => submit(),
  });
  const parts = { dialog, form, notice, save, start, submits: (/** @type {() => void} */ next) => (submit = next) };
  if (wish.rowId === null) editNew(wish, parts);
  else editOld(wish, parts);
  return dialog;
}

/** @typedef {{dialog: HTMLDialogElement, form: HTMLElement, notice: HTMLElement, save: HTMLButtonElement, start: HTMLElement, submits: (next: () => void) => void}} Parts */

/** Runs a write; says what went wrong in the form's own place. @param {Parts} parts @param {() => Promise<void>} act */
async function attempt(parts, act) {
  const { save, notice } = parts;
  if (save.disabled) return;
  save.disabled = true;
  fill(notice);
  try {
    await act();
  } catch (error) {
    fill(notice, problemBox(error));
    notice.scrollIntoView({ block: "nearest" });
  } finally {
    save.disabled = false;
  }
}

/** @param {Wish} wish @param {Parts} parts */
function editNew(wish, parts) {
  const id = freshId("row");
  const rowId = h("input", { id, class: "mono full", spellcheck: "false", autocapitalize: "none", placeholder: "left out: the node makes one, ordered by time" });
  const replaces = h("input", { type: "checkbox" });
  const fields = wish.columns.map((column) => makeField(column, undefined, () => check()));
  const check = () => {
    parts.save.disabled = fields.some((field) => field.read().json === null);
  };
  const request = () => {
    const data = objectOf(fields.filter((field) => !field.isMissing()).map((field) => [field.column.name, field.read().json ?? "null"]));
    const members = /** @type {[string, string][]} */ ([["table_name", JSON.stringify(wish.table)], ["data", data]]);
    if (rowId.value) members.push(["row_id", JSON.stringify(rowId.value)]);
    if (replaces.checked) members.push(["upsert", "true"]);
    return post("/insert", objectOf(members), { db: wish.db });
  };
  const once = new Once();
  const head = h("div", { class: "edit" }, h("label", { class: "name", for: id }, "row_id"), h("label", { class: "choice small" }, replaces, "Replace a row that is there"), rowId);
  fill(parts.form, head, fields.map((field) => field.element));
  fill(parts.start, curlButton(request));
  parts.submits(() =>
    attempt(parts, async () => {
      const answer = await once.send(request());
      await wish.done();
      parts.dialog.close();
      toast(`Inserted the row ${nameOf(answer.row_id)}.`);
    }),
  );
  check();
  rowId.focus();
}

/** The row as it is now; undefined when there is none. @param {Wish} wish @returns {Promise<Map<string, any> | undefined>} */
async function current(wish) {
  return parse(await text(selectOne(wish)))[0];
}

/** @param {Wish} wish @returns {import("../api.js").Request} */
function selectOne({ db, table, rowId }) {
  return { path: "/select", query: { db, table, row_id: rowId ?? "", versions: "true" } };
}

/** @param {Wish} wish @param {Parts} parts */
async function editOld(wish, parts) {
  try {
    const row = await current(wish);
    if (row) edit({ ...wish, columns: withColumnsOf(row, wish.columns).filter((column) => row.has(column.name)) }, parts, row);
    else fill(parts.form, h("div", { class: "empty" }, h("h3", {}, "This row is not there"), h("p", {}, "It was deleted, or was never written under this row_id.")));
  } catch (error) {
    fill(parts.form, problemBox(error, () => editOld(wish, parts)));
  }
}

/** @param {Wish} wish @param {Parts} parts @param {Map<string, any>} row */
function edit(wish, parts, row) {
  let version = row.get("_version");
  const check = () => {
    const changed = fields.filter((field) => field.isChanged());
    parts.save.disabled = changed.length === 0 || changed.some((field) => field.read().json === null);
  };
  const fields = wish.columns.map((column) => makeField(column, row.get(column.name) ?? null, check));
  const changes = () => fields.filter((field) => field.isChanged()).map((field) => /** @type {[string, string]} */ ([field.column.name, field.read().json ?? "null"]));
  const request = (given = changes(), over = version) => {
    const members = /** @type {[string, string][]} */ ([["table_name", JSON.stringify(wish.table)], ["row_id", JSON.stringify(wish.rowId)], ["new_data", objectOf(given)], ["if_version", String(over)]]);
    return post("/update", objectOf(members), { db: wish.db });
  };
  const once = new Once();
  const finish = async () => {
    await wish.done();
    parts.dialog.close();
    toast(`Saved the row ${nameOf(wish.rowId ?? "")}.`);
  };
  const write = async (given = changes(), over = version) => {
    try {
      await once.send(request(given, over));
      await finish();
    } catch (error) {
      if (!(error instanceof Problem) || !["version_mismatch", "row_not_found"].includes(error.code)) throw error;
      await choose(given);
    }
  };
  /** Somebody else was faster: their row beside our changes. @param {[string, string][]} mine */
  const choose = async (mine) => {
    const theirs = await current(wish);
    if (!theirs) {
      fill(parts.notice, gone(wish, row, mine, once, finish));
      return;
    }
    version = theirs.get("_version");
    const isSettled = mine.every(([name, json]) => same(parse(json), theirs.get(name) ?? null));
    if (isSettled) {
      await finish();
      return;
    }
    const box = conflictBox({ columns: wish.columns, before: row, theirs, mine, version, write: (given) => attempt(parts, () => (given.length ? write(given, version) : finish())), discard: () => parts.dialog.close() });
    fill(parts.notice, box);
    parts.notice.scrollIntoView({ block: "nearest" });
  };
  fill(parts.form, h("p", { class: "muted small" }, `Version ${version}. It is written only if nobody else was faster.`), fields.map((field) => field.element));
  const remove = h("button", { type: "button", class: "danger", on: { click: () => deleteRow({ db: wish.db, table: wish.table, rowId: wish.rowId ?? "", version, done: async () => (await wish.done(), parts.dialog.close()) }) } }, "Delete…");
  fill(parts.start, remove, curlButton(() => (changes().length && !parts.save.disabled ? request() : selectOne(wish))));
  parts.submits(() => attempt(parts, () => write()));
  check();
  /** @type {HTMLElement | null} */ (parts.form.querySelector(".full input, .full textarea, .full select, .full button"))?.focus();
}

/** @param {Wish} wish @param {Map<string, any>} row @param {[string, string][]} mine @param {Once} once @param {() => Promise<void>} finish */
function gone(wish, row, mine, once, finish) {
  const problem = h("div");
  const insert = async () => {
    const changed = new Map(mine);
    const data = objectOf(wish.columns.map(({ name }) => [name, changed.get(name) ?? stringifyOf(row.get(name))]));
    const request = post("/insert", objectOf([["table_name", JSON.stringify(wish.table)], ["row_id", JSON.stringify(wish.rowId)], ["data", data]]), { db: wish.db });
    try {
      await once.send(request);
      await finish();
    } catch (error) {
      fill(problem, problemBox(error));
    }
  };
  return h(
    "div",
    { class: "conflict" },
    h("h3", {}, "This row was deleted meanwhile"),
    h("p", {}, "Close the form to leave it so, or insert the row again with what you see here."),
    problem,
    h("p", { class: "buttons" }, h("button", { type: "button", on: { click: insert } }, "Insert it again")),
  );
}

/** @param {any} value */
function stringifyOf(value) {
  return value === undefined ? "null" : stringify(value);
}

/** @param {{db: string, table: string, rowId: string, version: any, done: () => Promise<void>}} wish */
export function deleteRow({ db, table, rowId, version, done }) {
  const members = /** @type {[string, string][]} */ ([["table_name", JSON.stringify(table)], ["row_id", JSON.stringify(rowId)], ["if_version", String(version)]]);
  const request = post("/delete_record", objectOf(members), { db });
  const once = new Once();
  ask({
    title: `Delete the row ${nameOf(rowId)}`,
    body: [h("p", {}, `It goes from ${table} on all nodes. There is no way back.`), h("p", { class: "muted" }, `Only version ${version} is deleted: if somebody changed the row meanwhile, it stays, and you are told.`)],
    yes: "Delete it",
    danger: true,
    start: [curlButton(() => request)],
    act: async () => {
      await once.send(request);
      await done();
      toast(`Deleted the row ${nameOf(rowId)}.`);
    },
  });
}
