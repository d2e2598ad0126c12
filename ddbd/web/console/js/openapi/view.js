// @ts-check
/** The calls of this node, from its own description (`/openapi.json`), with examples to copy; GETs can be tried here. */
import { Problem, text } from "../api.js";
import { curlButton } from "../copy.js";
import { problemBox } from "../dialogs.js";
import { fill, h } from "../dom.js";
import { plural } from "../format.js";
import { go, withParams } from "../router.js";
import { callsOf, grouped, typeOf } from "./document.js";
import { makeTry } from "./try.js";

/** @typedef {import("./document.js").Call} Call */
const PATH = "/openapi.json";

/** @type {import("../router.js").Opener} */
export function openApi(main, start) {
  let route = start;
  const said = h("p", {}, "Every node answers every call on its own port.");
  const filter = h("input", { type: "search", "data-search": true, "aria-label": "Find a call", placeholder: "Find a call", class: "find" });
  const place = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  main.append(
    h("div", { class: "head" }, h("div", { class: "head-text" }, h("h1", {}, "API"), said), h("div", { class: "buttons" }, filter, curlButton(() => ({ path: PATH })))),
    place,
  );
  /** @type {Map<string, HTMLDetailsElement>} */
  let items = new Map();
  /** @type {Call[]} */
  let calls = [];

  const narrow = () => {
    const words = (route.params.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    if (document.activeElement !== filter) filter.value = route.params.get("q") ?? "";
    for (const call of calls) {
      const all = `${call.method} ${call.path} ${call.summary} ${call.description}`.toLowerCase();
      /** @type {HTMLElement} */ (items.get(keyOf(call))).hidden = !words.every((word) => all.includes(word));
    }
    for (const group of place.querySelectorAll("section")) group.hidden = !group.querySelector("details:not([hidden])");
    const none = /** @type {HTMLElement | null} */ (place.querySelector(".empty"));
    if (none) none.hidden = [...items.values()].some((item) => !item.hidden);
  };
  const openWanted = () => {
    const item = items.get(route.params.get("call") ?? "");
    if (!item || item.open) return;
    item.open = true;
    item.scrollIntoView({ block: "nearest" });
  };
  const load = async () => {
    try {
      const found = JSON.parse(await text({ path: PATH }));
      calls = callsOf(found);
      items = new Map(calls.map((call) => [keyOf(call), item(call, () => go(withParams(route, { call: keyOf(call) }), true))]));
      const groups = [...grouped(calls)].map(([name, members]) => section(name, members.map((call) => /** @type {HTMLElement} */ (items.get(keyOf(call))))));
      const none = h("div", { class: "panel empty", hidden: true }, h("h2", {}, "No such call"), h("p", {}, "Search for a word of its path or of what it does."));
      fill(place, groups, none);
      fill(said, `${found.info?.title ?? "ddbd"} ${found.info?.version ?? ""}: ${plural(calls.length, "call")}. Every node answers every call on its own port.`);
      narrow();
      openWanted();
    } catch (error) {
      fill(place, error instanceof Problem && error.status === 404 ? missing() : problemBox(error, load));
    }
  };
  filter.addEventListener("input", () => go(withParams(route, { q: filter.value }), true));
  load();
  return {
    update: (next) => {
      route = next;
      narrow();
      openWanted();
    },
    close: () => undefined,
  };
}

/** @param {Call} call */
function keyOf(call) {
  return `${call.method} ${call.path}`;
}

function missing() {
  return h(
    "div",
    { class: "panel empty" },
    h("h2", {}, "This node does not describe its calls"),
    h("p", {}, "It serves no /openapi.json: it runs a version from before there was one. All other pages of this console work; the calls are described in docs/http.md."),
  );
}

/** @param {string} name @param {HTMLElement[]} items */
function section(name, items) {
  return h("section", { class: "calls" }, h("div", { class: "section-head" }, h("h2", {}, name.charAt(0).toUpperCase() + name.slice(1))), h("div", { class: "panel" }, items));
}

/** Filled when it is opened: most calls are never looked at. @param {Call} call @param {() => void} opened */
function item(call, opened) {
  const summary = h("summary", {}, h("span", { class: `method ${call.method.toLowerCase()}` }, call.method), h("code", {}, call.path), h("span", { class: "muted" }, call.summary));
  const body = h("div", { class: "call-body" });
  const element = h("details", { class: "call", "data-call": keyOf(call) }, summary, body);
  element.addEventListener("toggle", () => {
    if (!element.open) return;
    if (!body.hasChildNodes()) fill(body, about(call));
    opened();
  });
  return element;
}

/** @param {Call} call */
function about(call) {
  return [
    call.description && call.description.split(/\n{2,}/).map((paragraph) => h("p", {}, coded(paragraph))),
    call.parameters.length > 0 && parameters(call),
    ...call.bodies.map((body) => example(call, body)),
    call.bodies.length === 0 && makeTry(call),
    call.answers.length > 0 && answers(call),
  ].flat();
}

/** @param {Call} call */
function parameters(call) {
  const rows = call.parameters.map((one) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("code", {}, one.name), one.required && h("span", { class: "badge accent" }, "required")),
      h("td", { class: "muted nowrap" }, one.place),
      h("td", { class: "small" }, typeOf(one.schema)),
      h("td", {}, coded(one.description)),
    ),
  );
  const heads = ["Parameter", "In", "Type", "Meaning"].map((head) => h("th", { scope: "col" }, head));
  return h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `Parameters of ${call.path}` }, h("table", { class: "parameters" }, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)));
}

/** @param {Call} call @param {import("./document.js").Body} body */
function example(call, body) {
  const isText = typeof body.example === "string";
  const shown = isText ? body.example : JSON.stringify(body.example, null, 2);
  const sent = isText ? body.example : JSON.stringify(body.example);
  const headers = /** @type {Record<string, string>} */ (body.type === "application/json" ? {} : { "Content-Type": body.type });
  // The streaming load names its table in the query, which its description cannot call required: other bodies name it inside.
  const isNeeded = (/** @type {import("./document.js").Parameter} */ one) => one.required || (body.type !== "application/json" && one.name === "table");
  const query = Object.fromEntries(call.parameters.filter((one) => one.place === "query" && isNeeded(one)).map((one) => [one.name, one.example || one.name]));
  const request = () => ({ method: call.method, path: call.path, headers, query, ...(body.type === "application/json" ? { body: sent } : { file: "rows" }) });
  return h(
    "div",
    { class: "example" },
    h("div", { class: "example-head" }, h("h3", {}, body.name ? worded(body.name) : "Body"), h("span", { class: "muted small" }, body.type), curlButton(request, "Copy as curl", `${call.path} ${body.name || body.type}`)),
    h("pre", { class: "long", tabindex: "0" }, shown),
  );
}

/** Text with what stands in backticks as code. @param {string} text */
function coded(text) {
  return text.replaceAll("\n", " ").split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));
}

/** `InsertRow` and `one_row` as words. @param {string} name */
function worded(name) {
  const words = name.replace(/([a-z])([A-Z])/g, "$1 $2").replaceAll("_", " ").toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** @param {Call} call */
function answers(call) {
  return h(
    "details",
    { class: "answers" },
    h("summary", {}, `${plural(call.answers.length, "answer")}: ${call.answers.map((one) => one.status).join(", ")}`),
    h("dl", { class: "facts" }, call.answers.flatMap((one) => [h("dt", {}, one.status), h("dd", {}, coded(one.description))])),
  );
}
