// @ts-check
/**
 * What a column takes, and a value as it is edited: a kind and a text. Functions of their arguments; the node has the last word, this is
 * only so that a slip is seen before it is sent.
 */
import { isNumber, JsonError, parse, stringify } from "../json.js";

/** @typedef {"missing" | "null" | "text" | "number" | "boolean" | "json"} Kind */
/** @typedef {{kind: Kind, text: string}} Draft */
/** @typedef {{name: string, type: string, index: boolean}} Column */

export const TYPES = ["any", "text", "integer", "real", "boolean", "json"];
const INTEGER = /^-?(0|[1-9]\d*)$/;
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const SMALLEST = -(2n ** 63n);
const LARGEST = 2n ** 63n - 1n;
// What a text field of a browser would change on its way: carriage returns become line ends, and others cannot be seen.
const NOT_TYPED = /[\u0000-\u0008\u000b-\u001f\u007f\u202a-\u202e\u2066-\u2069]/;
const LOOKS_TYPED = /^\s*$|^[-\d[{"\s]|^(null|true|false)$/;

const KINDS = /** @type {Record<string, Kind[]>} */ ({
  any: ["null", "text", "number", "boolean", "json"],
  text: ["null", "text", "json"],
  integer: ["null", "number"],
  real: ["null", "number"],
  boolean: ["null", "boolean"],
  json: ["null", "json"],
});

/** Of a table as /status has it. @param {import("../store.js").Table} table @returns {Column[]} */
export function columnsOf(table) {
  const indexed = new Set(table.indexed ?? []);
  return table.columns.map((name, place) => ({ name, type: table.types?.[place] ?? "any", index: indexed.has(name) }));
}

/** @param {string} type @param {boolean} isNew a value may be left out of a new row */
export function kinds(type, isNew) {
  const known = KINDS[type] ?? KINDS.any;
  return isNew ? /** @type {Kind[]} */ (["missing", ...known]) : known;
}

/** The kind that is offered first for a new value. @param {string} type @returns {Kind} */
export function usualKind(type) {
  const of = /** @type {Record<string, Kind>} */ ({ integer: "number", real: "number", boolean: "boolean", json: "json" });
  return of[type] ?? "text";
}

/** @param {any} value @param {string} type @returns {Draft} */
export function draftOf(value, type) {
  if (value === null || value === undefined) return { kind: "null", text: "" };
  if (type === "json") return { kind: "json", text: stringify(value, 2) };
  if (typeof value === "string") return NOT_TYPED.test(value) ? { kind: "json", text: escaped(value) } : { kind: "text", text: value };
  if (typeof value === "boolean") return { kind: "boolean", text: String(value) };
  if (isNumber(value)) return { kind: "number", text: stringify(value) };
  return { kind: "json", text: stringify(value, 2) };
}

/**
 * A draft as JSON, word for word as it goes into the body of a request.
 * @param {Draft} draft
 * @param {string} type
 * @returns {{json: string, wrong: ""} | {json: null, wrong: string}}
 */
export function read(draft, type) {
  const { kind, text } = draft;
  if (kind === "null" || kind === "missing") return good("null");
  if (kind === "text") return text.isWellFormed() ? good(JSON.stringify(text)) : bad("Half of a character stands here without its other half.");
  if (kind === "boolean") return text === "true" || text === "false" ? good(text) : bad("Choose true or false.");
  return kind === "number" ? readNumber(text.trim(), type) : readJson(text, type);
}

/** @param {string} text @param {string} type */
function readNumber(text, type) {
  if (!text) return bad("A number is missing; choose null for none.");
  if (type === "integer" && !INTEGER.test(text)) return bad("A whole number is wanted, as in -12.");
  if (!NUMBER.test(text)) return bad("This is no number of JSON; write it as in 12, -0.5 or 1e6.");
  if (INTEGER.test(text) && !has64Bits(text)) return bad(`Integers go from ${SMALLEST} to ${LARGEST}.`);
  if (!Number.isFinite(Number(text))) return bad("This number is too large for a float.");
  return good(text);
}

/** @param {string} text @param {string} type */
function readJson(text, type) {
  let value;
  try {
    value = parse(text);
  } catch (error) {
    if (error instanceof JsonError) return bad(`No JSON: ${error.message}.`);
    throw error;
  }
  if (type === "text" && typeof value !== "string") return bad("This column takes text; as JSON it stands in double quotes.");
  const wrong = wrongInside(value);
  return wrong ? bad(wrong) : good(text.trim());
}

/** @param {any} value @returns {string} */
function wrongInside(value) {
  if (typeof value === "string") return value.isWellFormed() ? "" : "Half of a character stands in it without its other half.";
  if (isNumber(value)) return readNumber(stringify(value), "any").wrong;
  const inner = value instanceof Map ? [...value.keys(), ...value.values()] : Array.isArray(value) ? value : [];
  return inner.map(wrongInside).find(Boolean) ?? "";
}

/** @param {string} text */
function has64Bits(text) {
  if (text.length > 20) return false;
  const number = BigInt(text);
  return SMALLEST <= number && number <= LARGEST;
}

/**
 * How a value stands in a cell. Text that could be taken for something else is in quotes.
 * @param {any} value undefined: the row has no such column
 * @param {string} type
 * @returns {{text: string, look: "missing" | "null" | "text" | "quoted" | "number" | "boolean" | "json"}}
 */
export function shown(value, type) {
  if (value === undefined) return { text: "missing", look: "missing" };
  if (value === null) return { text: "null", look: "null" };
  if (typeof value === "string") {
    const isPlain = value !== "" && !NOT_TYPED.test(value) && (type === "text" || !LOOKS_TYPED.test(value));
    return isPlain ? { text: value, look: "text" } : { text: escaped(value), look: "quoted" };
  }
  if (isNumber(value)) return { text: stringify(value), look: "number" };
  if (typeof value === "boolean") return { text: String(value), look: "boolean" };
  return { text: stringify(value), look: "json" };
}

/** Text in quotes, with what cannot be seen as \uXXXX. @param {string} text */
export function escaped(text) {
  return JSON.stringify(text).replace(/[\u007f\u202a-\u202e\u2066-\u2069]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** An object from pieces that are JSON already. @param {[name: string, json: string][]} members */
export function objectOf(members) {
  return `{${members.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`;
}

/** @param {string} json @returns {{json: string, wrong: ""}} */
function good(json) {
  return { json, wrong: "" };
}

/** @param {string} wrong @returns {{json: null, wrong: string}} */
function bad(wrong) {
  return { json: null, wrong };
}
