// @ts-check
/** How busy this node has been: lines, or the same numbers as a table. Range, pause and form stand in the address. */
import { curlButton } from "../copy.js";
import { fill, h, setAttribute, setText } from "../dom.js";
import { bytes, milliseconds, moment, NONE, rate, whole } from "../format.js";
import { nodeUrl } from "../links.js";
import { go, withParams } from "../router.js";
import { store } from "../store.js";
import { makePlot } from "./plot.js";
import { CHARTS, cut, RANGE, RANGES } from "./series.js";

/** @typedef {import("../router.js").Route} Route */

const SHOWN = { rate, ms: milliseconds, count: whole, bytes };

/** @type {import("../router.js").Opener} */
export function openCharts(main, start) {
  let route = start;
  const said = h("p");
  const ranges = h("nav", { class: "segments", "aria-label": "Range" });
  const forms = h("nav", { class: "segments", "aria-label": "Form" });
  const pause = h("button", { type: "button", on: { click: () => go(withParams(route, { hold: held(route) ? "" : Math.floor(store.now()) })) } });
  const plots = CHARTS.map((chart) => makePlot(chart, (at) => plots.forEach((plot) => plot.show(at))));
  const grid = h("div", { class: "plots" }, plots.map((plot) => plot.element));
  const table = makeTable();
  main.append(
    h(
      "div",
      { class: "head" },
      h("div", { class: "head-text" }, h("h1", {}, "Charts"), said),
      h("div", { class: "buttons" }, curlButton(() => ({ path: "/metrics" }), "Copy metrics as curl"), forms, ranges, pause),
    ),
    grid,
    table.element,
  );

  const draw = () => {
    const range = rangeOf(route);
    const now = held(route) ?? store.now();
    const columns = cut(store.history, range, now);
    const isTable = route.params.get("as") === "table";
    if (isTable) table.draw(columns);
    else for (const plot of plots) plot.draw(columns);
  };
  const describe = () => {
    const others = store.peers.filter((peer) => peer.id !== store.self);
    const key = `${store.self}/${others.map((peer) => peer.address)}/${location.hash}`;
    if (said.dataset.key === key) return;
    said.dataset.key = key;
    const links = others.flatMap((peer, at) => [at ? ", " : " The others have their own: ", h("a", { href: nodeUrl(peer.address, location.hash) }, `node ${peer.id}`)]);
    fill(said, store.self ? `What node ${store.self} answered itself.` : "Waiting for this node.", links);
  };
  const update = (/** @type {Route} */ next) => {
    route = next;
    const isTable = route.params.get("as") === "table";
    fill(ranges, Object.entries(RANGES).map(([name, { label }]) => segment(label, withParams(route, { range: name }), name === rangeOf(route))));
    fill(forms, segment("Lines", withParams(route, { as: "" }), !isTable), segment("Table", withParams(route, { as: "table" }), isTable));
    grid.hidden = isTable;
    table.element.hidden = !isTable;
    setText(pause, held(route) ? "Go on" : "Pause");
    setAttribute(pause, "aria-pressed", held(route) ? "true" : "false");
    describe();
    draw();
  };
  update(start);
  const stops = [
    store.watch(["samples"], () => held(route) === null && draw()),
    store.watch(["peers"], describe),
  ];
  return { update, close: () => stops.forEach((stop) => stop()) };
}

/** @param {Route} route */
function rangeOf(route) {
  const range = route.params.get("range") ?? "";
  return Object.hasOwn(RANGES, range) ? range : RANGE;
}

/** The moment at which the charts are held. @param {Route} route @returns {number | null} */
function held(route) {
  const moment = Number(route.params.get("hold"));
  return Number.isFinite(moment) && moment > 0 ? moment : null;
}

/** @param {string} label @param {string} href @param {boolean} isCurrent */
function segment(label, href, isCurrent) {
  return h("a", { href, "aria-current": isCurrent ? "true" : null }, label);
}

/** The numbers of the lines, newest first. */
function makeTable() {
  const series = CHARTS.flatMap((chart) => chart.series.map((one) => ({ ...one, unit: chart.unit, title: chart.title })));
  const body = h("tbody");
  const heads = CHARTS.map((chart) => h("th", { scope: "colgroup", colspan: chart.series.length, class: "number" }, chart.title));
  const subheads = series.map((one) => h("th", { scope: "col", class: "number" }, one.label));
  const table = h(
    "table",
    { class: "numbers" },
    h("caption", { class: "unseen" }, "The numbers of the charts, newest first"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col", rowspan: 2 }, "Until"), heads), h("tr", {}, subheads)),
    body,
  );
  /** Rows that are drawn, by what they say: a table that is made anew each second could not be read out or selected. @type {Map<string, HTMLElement>} */
  let rows = new Map();
  const element = h("div", { class: "panel scroll tall", role: "region", "aria-label": "Numbers of the charts", tabindex: "0" }, table);

  /** @param {import("../store.js").Columns} columns */
  const draw = (columns) => {
    const places = columns.t.map((_, at) => at).reverse().filter((at) => series.some(({ name }) => (columns[name]?.[at] ?? null) !== null));
    const next = places.map((at) => {
      const told = series.map(({ name, unit }) => shown(columns[name]?.[at] ?? null, unit));
      return /** @type {const} */ ([[columns.t[at], ...told].join(), () => makeRow(Number(columns.t[at]), told)]);
    });
    const drawn = new Map(next.map(([key, make]) => [key, rows.get(key) ?? make()]));
    for (const [key, row] of rows) if (!drawn.has(key)) row.remove();
    if (!rows.size) fill(body);
    [...drawn.values()].forEach((row, at) => body.children[at] !== row && body.insertBefore(row, body.children[at] ?? null));
    rows = drawn;
    if (!places.length) fill(body, h("tr", {}, h("td", { colspan: series.length + 1, class: "muted" }, "Nothing is known of this time yet.")));
  };
  return { element, draw };
}

/** @param {number | null} value @param {"rate" | "ms" | "count" | "bytes"} unit */
function shown(value, unit) {
  return value === null ? NONE : SHOWN[unit](value);
}

/** @param {number} until @param {string[]} told */
function makeRow(until, told) {
  return h("tr", {}, h("th", { scope: "row" }, moment(until)), told.map((text) => h("td", { class: "number" }, text)));
}
