// @ts-check
/**
 * One chart: lines over time, axes, and a cursor that mouse, finger and keyboard move. The lines are drawn in a box of fixed units that is
 * stretched to the width of the panel; words stand outside of it as HTML, so that they are never stretched.
 */
import { fill, h, s, setAttribute, setText } from "../dom.js";
import { bytes, milliseconds, NONE, rate, short, time, whole } from "../format.js";
import { marks, newest, timeMarks } from "./series.js";

/** @typedef {import("./series.js").Chart} Chart */
/** @typedef {import("../store.js").Columns} Columns */

const WIDTH = 1000;
const HEIGHT = 160;
const EDGE = 0.04; // a mark nearer to the edge would be cut
const SHOWN = { rate, ms: milliseconds, count: whole, bytes };
const AXIS = { rate: short, ms: short, count: whole, bytes };
const hourMinute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** @param {Chart} chart @param {(at: number | null) => void} point told when the cursor moves; null when it leaves */
export function makePlot(chart, point) {
  const grid = s("g", { class: "grid" });
  const lines = chart.series.map((_, at) => s("path", { class: `line series-${at + 1}`, "vector-effect": "non-scaling-stroke" }));
  const area = s("path", { class: "area" });
  const cursor = s("line", { class: "cursor", y1: 0, y2: HEIGHT, "vector-effect": "non-scaling-stroke", visibility: "hidden" });
  const box = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, grid, area, lines, cursor);
  const dots = chart.series.map((_, at) => h("i", { class: `point series-${at + 1}`, hidden: true }));
  const left = h("div", { class: "axis-left", "aria-hidden": "true" });
  const bottom = h("div", { class: "axis-bottom", "aria-hidden": "true" });
  const nothing = h("p", { class: "plot-empty muted", hidden: true }, "Nothing happened in this time.");
  const canvas = h(
    "div",
    { class: "canvas", role: "slider", tabindex: "0", "aria-label": `${chart.title}, moment`, "aria-valuemin": 0, "aria-valuenow": 0, "aria-valuemax": 1 },
    box, dots, nothing,
  );
  const moment = h("span", { class: "moment muted" });
  const values = chart.series.map((series, at) => {
    const value = h("b", {});
    return { value, element: h("span", { class: "value" }, h("i", { class: `swatch series-${at + 1}` }), series.label, " ", value) };
  });
  const head = h("div", { class: "plot-head" }, h("h2", {}, chart.title), h("p", { class: "values" }, moment, values.map((value) => value.element)));
  const element = h("section", { class: "panel plot", "data-chart": chart.key }, head, h("div", { class: "plot-body" }, left, canvas, bottom));

  /** @type {Columns} */
  let columns = { t: [] };
  let top = 1;
  /** @type {number | null} */
  let at = null;

  const columnOf = (/** @type {string} */ name) => columns[name] ?? [];
  const x = (/** @type {number} */ place) => (columns.t.length < 2 ? 0 : (place / (columns.t.length - 1)) * WIDTH);
  const y = (/** @type {number} */ value) => HEIGHT - (value / top) * HEIGHT;

  /** @param {Columns} next */
  const draw = (next) => {
    columns = next;
    const known = chart.series.flatMap(({ name }) => columnOf(name)).filter((value) => value !== null);
    const scale = marks(known.reduce((/** @type {number} */ most, value) => Math.max(most, Number(value)), 0), chart.unit);
    top = scale[scale.length - 1];
    fill(grid, scale.map((mark) => s("line", { x1: 0, x2: WIDTH, y1: y(mark), y2: y(mark), "vector-effect": "non-scaling-stroke" })));
    fill(left, scale.map((mark) => place(h("span", {}, AXIS[chart.unit](mark)), "bottom", mark / top)));
    const [from, to] = [Number(columns.t[0]), Number(columns.t[columns.t.length - 1])];
    const times = timeMarks(from, to).map((mark) => ({ mark, part: (mark - from) / (to - from) })).filter(({ part }) => part > EDGE && part < 1 - EDGE);
    fill(bottom, times.map(({ mark, part }) => place(h("span", {}, label(mark, to - from)), "left", part)));
    chart.series.forEach(({ name }, index) => setAttribute(lines[index], "d", path(columnOf(name), x, y)));
    setAttribute(area, "d", chart.series.length === 1 ? closed(columnOf(chart.series[0].name), x, y) : null);
    nothing.hidden = known.length > 0;
    setAttribute(canvas, "aria-valuemax", Math.max(0, columns.t.length - 1));
    show();
  };

  /** The cursor, and the values there; without one, the newest. @param {number | null} [next] */
  const show = (next = at) => {
    at = next === null ? null : Math.max(0, Math.min(columns.t.length - 1, next));
    const here = at ?? Math.max(0, newest(columns));
    setAttribute(cursor, "visibility", at === null ? "hidden" : "visible");
    setAttribute(cursor, "x1", x(here));
    setAttribute(cursor, "x2", x(here));
    setText(moment, at === null ? "newest" : time(Number(columns.t[here])));
    const told = chart.series.map(({ name, label: word }, index) => {
      const value = columnOf(name)[here] ?? null;
      const shown = value === null ? NONE : SHOWN[chart.unit](value);
      setText(values[index].value, shown);
      dots[index].hidden = at === null || value === null;
      dots[index].style.left = `${(x(here) / WIDTH) * 100}%`;
      dots[index].style.top = `${(y(value ?? 0) / HEIGHT) * 100}%`;
      return `${word} ${value === null ? "nothing" : shown}`;
    });
    setAttribute(canvas, "aria-valuenow", Math.max(0, here));
    setAttribute(canvas, "aria-valuetext", columns.t.length ? `${time(Number(columns.t[here]))}: ${told.join(", ")}` : "no values yet");
  };

  listen(canvas, () => columns.t.length, () => at, point);
  return { element, draw, show };
}

/**
 * @param {HTMLElement} canvas
 * @param {() => number} count
 * @param {() => number | null} current
 * @param {(at: number | null) => void} point
 */
function listen(canvas, count, current, point) {
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    point(Math.round(((event.clientX - box.left) / box.width) * (count() - 1)));
  });
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("blur", () => point(null));
  canvas.addEventListener("keydown", (event) => {
    const steps = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity });
    if (event.key === "Escape") point(null);
    if (!(event.key in steps)) return;
    event.preventDefault();
    const by = steps[event.key] * (event.shiftKey ? 10 : 1);
    point(Math.max(0, Math.min(count() - 1, (current() ?? count() - 1) + by)));
  });
}

/** Values as a path; a value that stands alone between gaps is a short stroke, else it would not be seen. */
function path(/** @type {(number | null)[]} */ values, /** @type {(place: number) => number} */ x, /** @type {(value: number) => number} */ y) {
  let drawn = "";
  values.forEach((value, place) => {
    if (value === null) return;
    const isFirst = place === 0 || values[place - 1] === null;
    const isLast = place === values.length - 1 || values[place + 1] === null;
    drawn += `${isFirst ? "M" : "L"}${x(place).toFixed(1)} ${y(value).toFixed(1)}`;
    if (isFirst && isLast) drawn += "h6";
  });
  return drawn || null;
}

/** The same, closed along the ground, run by run. */
function closed(/** @type {(number | null)[]} */ values, /** @type {(place: number) => number} */ x, /** @type {(value: number) => number} */ y) {
  let drawn = "";
  values.forEach((value, place) => {
    if (value === null) return;
    if (place === 0 || values[place - 1] === null) drawn += `M${x(place).toFixed(1)} ${HEIGHT}`;
    drawn += `L${x(place).toFixed(1)} ${y(value).toFixed(1)}`;
    if (place === values.length - 1 || values[place + 1] === null) drawn += `L${x(place).toFixed(1)} ${HEIGHT}Z`;
  });
  return drawn || null;
}

/** @param {HTMLElement} mark @param {"left" | "bottom"} side @param {number} part */
function place(mark, side, part) {
  mark.style[side] = `${(part * 100).toFixed(2)}%`;
  return mark;
}

/** @param {number} mark @param {number} span */
function label(mark, span) {
  return span <= 120 ? time(mark) : hourMinute.format(new Date(mark * 1000));
}
