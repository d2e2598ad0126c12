// @ts-check
/**
 * Calls of the public HTTP interface, at the node that served this page. What goes wrong is thrown as a `Problem`: the node's own sentence
 * where it gave one (RFC 9457), else ours.
 */
import { target } from "./curl.js";

/**
 * @typedef {object} Request
 * @property {string} [method]
 * @property {string} path
 * @property {Record<string, any>} [query] values that are null or undefined are left out
 * @property {Record<string, string>} [headers]
 * @property {string} [body] JSON
 * @property {string} [file] the name of a file that is the body, for the line of curl
 */

export class Problem extends Error {
  /** @param {number} status 0: no answer came @param {string} title @param {string} detail @param {string} code @param {Record<string, any>} [more] */
  constructor(status, title, detail, code, more = {}) {
    super(detail);
    this.name = "Problem";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.code = code;
    this.more = more;
  }
}

/**
 * The reply, if it is a success.
 * @param {Request} request
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 */
export async function send(request, signal) {
  const { method = "GET", headers = {}, body } = request;
  let response;
  try {
    response = await fetch(target(request), { method, headers, body, signal, cache: "no-store" });
  } catch (error) {
    throw asProblem(error);
  }
  if (!response.ok) throw problemOf(response.status, await response.text().catch(() => ""));
  return response;
}

/** @param {Request} request @param {AbortSignal} [signal] @returns {Promise<string>} */
export async function text(request, signal) {
  const response = await send(request, signal);
  try {
    return await response.text();
  } catch (error) {
    throw asProblem(error, "The answer broke off on the way. Nothing of it is shown, since it would be half of the truth.");
  }
}

/**
 * A problem of whatever was thrown on the way; what was called off by ourselves is thrown on as it is.
 * @param {unknown} error
 * @param {string} [detail]
 */
export function asProblem(error, detail) {
  if (error instanceof Problem) return error;
  if (error instanceof DOMException && error.name === "AbortError") return error;
  return new Problem(0, "No answer", detail ?? "This node does not answer. It may be restarting, or the network to it is down.", "unreachable");
}

/** @param {unknown} error */
export function wasCalledOff(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/** @param {number} status @param {string} body */
export function problemOf(status, body) {
  try {
    const { title, detail, code, ...more } = JSON.parse(body);
    return new Problem(status, String(title), String(detail), String(code), more);
  } catch {
    return new Problem(status, `Status ${status}`, body.slice(0, 500) || "The node gave no reason.", "unknown");
  }
}

/** A write: JSON to a path. @param {string} path @param {string} body @param {Record<string, any>} [query] @returns {Request} */
export function post(path, body, query = {}) {
  return { method: "POST", path, query, body, headers: {} };
}

/**
 * Writes under an Idempotency-Key of their own. Where nobody can tell whether a write was done (no answer, 503, 504), the same write sent
 * again has the same key, and is done once; after any other answer the next one is a new write.
 */
export class Once {
  constructor() {
    this._open = { write: "", key: "" };
  }

  /** @param {Request} request @returns {Promise<any>} the answer's JSON */
  async send(request) {
    const write = `${target(request)} ${request.body}`;
    if (write !== this._open.write) this._open = { write, key: freshKey("console") };
    const headers = { ...request.headers, "Idempotency-Key": this._open.key };
    try {
      const answer = JSON.parse(await text({ ...request, headers }));
      this._open.write = "";
      return answer;
    } catch (error) {
      if (error instanceof Problem && ![0, 503, 504].includes(error.status)) this._open.write = "";
      throw error;
    }
  }
}

/** Without `crypto.randomUUID`, which browsers keep from pages that came over plain HTTP. @param {string} stem */
export function freshKey(stem) {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return `${stem}-${[...random].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
