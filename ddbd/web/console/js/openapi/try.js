// @ts-check
/** A form for a GET: parameters in, the answer out. Nothing is sent until it is asked for, and nothing but GET can be sent from here. */
import { asProblem, wasCalledOff } from "../api.js";
import { curlButton } from "../copy.js";
import { target } from "../curl.js";
import { problemBox } from "../dialogs.js";
import { fill, freshId, h } from "../dom.js";
import { bytes, milliseconds } from "../format.js";
import { parse, stringify } from "../json.js";

/** @typedef {import("./document.js").Call} Call */

const ANSWER_BYTES = 256 * 1024;

/** @param {Call} call */
export function makeTry(call) {
  const fields = call.parameters.filter((one) => one.place === "query" || one.place === "path").map((one) => ({ ...one, ...field(one) }));
  const result = h("div", { "aria-live": "polite" });
  const request = () => {
    const query = Object.fromEntries(fields.filter(({ place, input }) => place === "query" && input.value !== "").map(({ name, input }) => [name, input.value]));
    const path = fields.filter(({ place }) => place === "path").reduce((made, { name, input }) => made.replace(`{${name}}`, encodeURIComponent(input.value)), call.path);
    return { method: call.method, path, query };
  };
  let calling = new AbortController();
  const run = async (/** @type {Event} */ event) => {
    event.preventDefault();
    calling.abort();
    calling = new AbortController();
    fill(result, h("p", { class: "muted small" }, "Asking…"));
    try {
      fill(result, await answer(request(), calling));
    } catch (error) {
      if (!wasCalledOff(error)) fill(result, problemBox(error));
    }
  };
  const isGet = call.method === "GET";
  return h(
    "form",
    { class: "try", on: { submit: run } },
    fields.length > 0 && h("div", { class: "try-fields" }, fields.map(({ element }) => element)),
    h("p", { class: "buttons" }, isGet && h("button", { type: "submit", class: "small" }, "Try it"), curlButton(request, "Copy as curl", call.path)),
    result,
  );
}

/** @param {import("./document.js").Parameter} parameter */
function field(parameter) {
  const id = freshId("try");
  const choices = parameter.schema.enum ?? (parameter.schema.type === "boolean" ? [true, false] : null);
  const input = choices
    ? h("select", { id }, h("option", { value: "" }, "–"), choices.map((/** @type {any} */ one) => h("option", { value: String(one) }, String(one))))
    : h("input", { id, class: "mono", spellcheck: "false", autocapitalize: "none", value: parameter.required ? parameter.example : "" });
  return { input, element: h("div", { class: "field" }, h("label", { for: id }, parameter.name), input) };
}

/** @param {import("../api.js").Request} request @param {AbortController} calling */
async function answer(request, calling) {
  const began = performance.now();
  let response;
  let text;
  try {
    response = await fetch(target(request), { signal: calling.signal, cache: "no-store", redirect: "manual" });
    text = await beginning(response);
  } catch (error) {
    throw asProblem(error);
  }
  const took = performance.now() - began;
  const headers = [...response.headers].filter(([name]) => /^(ddb-|etag|link|content-type|retry-after)/.test(name));
  return [
    h("p", { class: "small" }, h("b", {}, `Status ${response.status}`), h("span", { class: "muted" }, ` in ${milliseconds(took)}${text.isWhole ? "" : `; the first ${bytes(ANSWER_BYTES)} of it`}`)),
    h("dl", { class: "facts small" }, headers.flatMap(([name, value]) => [h("dt", {}, name), h("dd", { class: "mono" }, value)])),
    h("pre", { class: "long", tabindex: "0", "aria-label": "The answer's body" }, pretty(text.text, response.headers.get("Content-Type") ?? "") || "(no body)"),
  ];
}

/** As much of a body as is worth showing; the rest is not fetched. @param {Response} response */
async function beginning(response) {
  if (!response.body) return { text: "", isWhole: true };
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for (let step = await reader.read(); !step.done; step = await reader.read()) {
    text += decoder.decode(step.value, { stream: true });
    size += step.value.length;
    if (size > ANSWER_BYTES) {
      await reader.cancel();
      return { text, isWhole: false };
    }
  }
  return { text: text + decoder.decode(), isWhole: true };
}

/** @param {string} text @param {string} type */
function pretty(text, type) {
  if (!/json/.test(type) || /ndjson/.test(type)) return text;
  try {
    return stringify(parse(text), 2);
  } catch {
    return text; // cut off, or no JSON after all: as it came
  }
}
