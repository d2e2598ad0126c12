// @ts-check
/**
 * JSON whose numbers survive. JavaScript has one kind of number; the database has 64-bit integers and floats, and tells 1 from 1.0. So a
 * number whose text JavaScript would not write the same way (9007199254740993, 1.0, 1e400) is kept as that text, an `Exact`, and written
 * back as it came. All others are plain numbers.
 *
 *     parse(text)       null, booleans, strings, numbers, Exact; lists are arrays, objects are Maps: in their order, and no key is special
 *     stringify(value)  the reverse; plain objects are taken too
 *
 * The parser is strict (RFC 8259). What is wrong is thrown as a `JsonError`, with the place.
 */

export const DEPTH_MAX = 64; // the server's own limit
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const SPACE = /[ \t\r\n]*/y;
const ESCAPES = /** @type {Record<string, string>} */ ({ '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" });

/** A number, as its text. */
export class Exact {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    Object.freeze(this);
  }

  toString() {
    return this.text;
  }
}

export class JsonError extends Error {
  /** @param {string} message @param {number} at */
  constructor(message, at) {
    super(message);
    this.name = "JsonError";
    this.at = at;
  }
}

/** A number's text as a value: plain where nothing is lost. @param {string} text @returns {number | Exact} */
function numberOf(text) {
  const number = Number(text);
  return String(number) === text ? number : new Exact(text);
}

/** @param {any} value */
export function isNumber(value) {
  return typeof value === "number" || typeof value === "bigint" || value instanceof Exact;
}

/** @param {string} text @returns {any} */
export function parse(text) {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.space();
  if (reader.at < text.length) throw reader.wrong("something stands behind the value");
  return value;
}

class Reader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  /** @param {string} what */
  wrong(what) {
    const before = this.text.slice(0, this.at).split("\n");
    const line = before.length > 1 ? `line ${before.length}, ` : "";
    return new JsonError(`${what} (${line}column ${before[before.length - 1].length + 1})`, this.at);
  }

  space() {
    SPACE.lastIndex = this.at;
    SPACE.test(this.text);
    this.at = SPACE.lastIndex;
  }

  /** @param {string} word */
  takes(word) {
    if (!this.text.startsWith(word, this.at)) return false;
    this.at += word.length;
    return true;
  }

  /** @param {number} depth @returns {any} */
  value(depth) {
    this.space();
    const first = this.text[this.at];
    if (first === "{" || first === "[") {
      if (depth >= DEPTH_MAX) throw this.wrong(`more than ${DEPTH_MAX} levels deep`);
      return first === "{" ? this.object(depth) : this.list(depth);
    }
    if (first === '"') return this.string();
    if (this.takes("null")) return null;
    if (this.takes("true")) return true;
    if (this.takes("false")) return false;
    return this.number();
  }

  number() {
    NUMBER.lastIndex = this.at;
    const found = NUMBER.exec(this.text);
    if (!found) {
      throw this.wrong(this.at < this.text.length ? "no JSON value begins like this; text stands in double quotes" : "a value is missing");
    }
    this.at = NUMBER.lastIndex;
    return numberOf(found[0]);
  }

  /** @param {number} depth */
  list(depth) {
    /** @type {any[]} */
    const items = [];
    this.at += 1;
    this.space();
    if (this.takes("]")) return items;
    for (;;) {
      items.push(this.value(depth + 1));
      this.space();
      if (this.takes("]")) return items;
      if (!this.takes(",")) throw this.wrong("a list goes on with , or ends with ]");
    }
  }

  /** @param {number} depth */
  object(depth) {
    /** @type {Map<string, any>} */
    const found = new Map();
    this.at += 1;
    this.space();
    if (this.takes("}")) return found;
    for (;;) {
      this.space();
      if (this.text[this.at] !== '"') throw this.wrong("a key stands in double quotes");
      const key = this.string();
      if (found.has(key)) throw this.wrong(`the key ${JSON.stringify(key)} stands twice in one object`);
      this.space();
      if (!this.takes(":")) throw this.wrong("a : follows the key");
      found.set(key, this.value(depth + 1));
      this.space();
      if (this.takes("}")) return found;
      if (!this.takes(",")) throw this.wrong("an object goes on with , or ends with }");
    }
  }

  string() {
    const parts = [];
    this.at += 1;
    for (;;) {
      PLAIN.lastIndex = this.at;
      const run = /** @type {RegExpExecArray} */ (PLAIN.exec(this.text))[0];
      parts.push(run);
      this.at += run.length;
      if (this.takes('"')) return parts.join("");
      if (this.at >= this.text.length) throw this.wrong("a closing quote is missing");
      if (!this.takes("\\")) throw this.wrong("a control character in text is written as \\n, \\t or \\u00..");
      parts.push(this.escape());
    }
  }

  escape() {
    const letter = this.text[this.at];
    const hex = letter === "u" ? this.text.slice(this.at + 1, this.at + 5) : "";
    if (letter === "u" ? !/^[0-9a-fA-F]{4}$/.test(hex) : !(letter in ESCAPES)) throw this.wrong("no such escape after \\");
    this.at += 1 + hex.length;
    return hex ? String.fromCharCode(parseInt(hex, 16)) : ESCAPES[letter];
  }
}

/**
 * @param {any} value
 * @param {number} [indent] spaces a level; none: all in one line
 * @returns {string}
 */
export function stringify(value, indent = 0) {
  return written(value, indent ? "\n" : "", indent);
}

/** @param {any} value @param {string} newline @param {number} indent @returns {string} */
function written(value, newline, indent) {
  if (value instanceof Exact) return value.text;
  if (typeof value === "bigint") return value.toString();
  if (value === null || typeof value !== "object") return scalar(value);
  const inner = newline && newline + " ".repeat(indent);
  if (Array.isArray(value)) return wrapped("[", value.map((item) => written(item, inner, indent)), "]", newline, inner);
  const entries = value instanceof Map ? [...value] : Object.entries(value).filter(([, item]) => item !== undefined);
  const colon = newline ? ": " : ":";
  return wrapped("{", entries.map(([key, item]) => JSON.stringify(key) + colon + written(item, inner, indent)), "}", newline, inner);
}

/** @param {any} value */
function scalar(value) {
  if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`${value} is no JSON`);
  if (Object.is(value, -0)) return "-0.0";
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`${typeof value} is no JSON`);
  return text;
}

/** @param {string} open @param {string[]} items @param {string} close @param {string} newline @param {string} inner */
function wrapped(open, items, close, newline, inner) {
  if (!items.length) return open + close;
  return open + inner + items.join(`,${inner}`) + newline + close;
}

/**
 * Whether two values are the same JSON, number for number and in the same order of keys.
 * @param {any} a
 * @param {any} b
 */
export function same(a, b) {
  return stringify(a) === stringify(b);
}
