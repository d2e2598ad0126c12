// @ts-check
/**
 * A request as a line for curl that can be pasted into any POSIX shell. Whatever text stands in it, the shell and the terminal see
 * printable ASCII inside single quotes: queries are percent-encoded, and bodies are JSON with every other character written as \uXXXX.
 * So a value in a table can neither end the quotes nor send control characters to the terminal that the line is pasted into.
 */

/** @typedef {import("./api.js").Request} Request */

/** One word of the shell. @param {string} text */
export function quoted(text) {
  return /^[A-Za-z0-9_./:,%+@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** JSON with nothing but printable ASCII. @param {string} json */
function asciiJson(json) {
  return json.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/**
 * @param {Request} request
 * @param {string} origin of this node, as in http://localhost:8080
 */
export function curlLine(request, origin) {
  const words = ["curl"];
  const { method = "GET", headers = {}, body, file } = request;
  if (method !== "GET" && !(method === "POST" && (body !== undefined || file !== undefined))) words.push("-X", method);
  for (const [name, value] of Object.entries(headers)) words.push("-H", quoted(`${name}: ${value}`));
  if (file !== undefined) words.push("--data-binary", quoted(`@${file}`));
  else if (body !== undefined) words.push("-d", quoted(asciiJson(body)));
  words.push(quoted(origin + target(request)));
  return words.join(" ");
}

/** Path and query of a request. Spaces are %20, and what curl would take for a pattern is encoded. @param {Request} request */
export function target(request) {
  const pairs = Object.entries(request.query ?? {}).filter(([, value]) => value !== undefined && value !== null);
  const query = pairs.map(([name, value]) => `${encoded(name)}=${encoded(String(value))}`).join("&");
  return request.path + (query ? `?${query}` : "");
}

/** @param {string} text */
function encoded(text) {
  return encodeURIComponent(text.toWellFormed()).replace(/[!'()*~]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
}
