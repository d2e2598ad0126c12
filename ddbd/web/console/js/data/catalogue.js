// @ts-check
/** Databases and tables as this node has them: told by the feed, and asked for after each change of our own. */
import { text } from "../api.js";
import { store } from "../store.js";
import { columnsOf } from "./values.js";

/** @returns {Promise<import("../store.js").Status>} */
export async function reload() {
  const status = JSON.parse(await text({ path: "/status" }));
  store.take("status", { status });
  return status;
}

/** Names compare without case. @param {string} db @param {string} name */
export function tableOf(db, name) {
  const database = (store.status?.databases ?? []).find((one) => one.name.toLowerCase() === db.toLowerCase());
  const table = database?.tables.find((one) => one.name.toLowerCase() === name.toLowerCase());
  return table && { name: table.name, rows: table.row_count, columns: columnsOf(table) };
}
