// @ts-check
/** From the node's history to what is drawn: the same numbers for the lines and for the table. Functions of their arguments. */
import { together } from "../store.js";

/** @typedef {import("../store.js").Columns} Columns */
/** @typedef {{name: string, label: string}} Series */
/** @typedef {{key: string, title: string, unit: "rate" | "ms" | "count" | "bytes", series: Series[]}} Chart */

/** How long, and how much time one point stands for; a point a pixel or fewer. */
export const RANGES = /** @type {Record<string, {label: string, seconds: number, step: number}>} */ ({
  "1m": { label: "1m", seconds: 60, step: 1 },
  "5m": { label: "5m", seconds: 300, step: 1 },
  "15m": { label: "15m", seconds: 900, step: 3 },
  "1h": { label: "1h", seconds: 3600, step: 10 },
  "24h": { label: "24h", seconds: 86400, step: 300 },
});
export const RANGE = "5m";

export const CHARTS = /** @type {Chart[]} */ ([
  { key: "rates", title: "Requests a second", unit: "rate", series: [{ name: "writes", label: "Writes" }, { name: "reads", label: "Reads" }] },
  { key: "errors", title: "Errors a second", unit: "rate", series: [{ name: "errors", label: "Errors" }] },
  { key: "write", title: "Write latency", unit: "ms", series: [{ name: "write_p50_ms", label: "p50" }, { name: "write_p99_ms", label: "p99" }] },
  { key: "read", title: "Read latency", unit: "ms", series: [{ name: "read_p50_ms", label: "p50" }, { name: "read_p99_ms", label: "p99" }] },
  { key: "lag", title: "Commit lag, in entries", unit: "count", series: [{ name: "commit_lag", label: "Not applied yet" }] },
  { key: "reactor", title: "Reactor lag, longest turn", unit: "ms", series: [{ name: "reactor_ms", label: "Turn" }] },
  { key: "disk", title: "Disk used", unit: "bytes", series: [{ name: "disk_bytes", label: "Used" }] },
]);

/**
 * The history cut into steps that end at whole multiples, so that a point keeps its value while it moves to the left.
 * @param {{"1s": Columns, "10s": Columns}} history
 * @param {string} range
 * @param {number} now
 * @returns {Columns} `t` is the end of each step; null where nothing is known
 */
export function cut(history, range, now) {
  const { seconds, step } = RANGES[range];
  const source = step >= 10 ? joined(history["10s"], history["1s"]) : history["1s"];
  const end = Math.floor(now / step) * step;
  const count = Math.round(seconds / step);
  const first = end - count * step;
  /** @type {number[][]} */
  const places = Array.from({ length: count }, () => []);
  source.t.forEach((moment, at) => {
    const place = Math.ceil((Number(moment) - first) / step) - 1;
    if (place >= 0 && place < count) places[place].push(at);
  });
  /** @type {Columns} */
  const found = { t: places.map((_, place) => first + (place + 1) * step) };
  for (const [name, column] of Object.entries(source)) {
    if (name !== "t") found[name] = places.map((ats) => together(name, ats.map((at) => column[at])));
  }
  return found;
}

/** The coarse history, and what came after its end. @param {Columns} coarse @param {Columns} fine @returns {Columns} */
function joined(coarse, fine) {
  const end = coarse.t.length ? Number(coarse.t[coarse.t.length - 1]) : -Infinity;
  const from = fine.t.findIndex((moment) => Number(moment) > end);
  if (from < 0) return coarse;
  /** @type {Columns} */
  const found = {};
  for (const name of new Set([...Object.keys(coarse), ...Object.keys(fine)])) {
    const old = coarse[name] ?? new Array(coarse.t.length).fill(null);
    found[name] = [...old, ...(fine[name] ?? new Array(fine.t.length).fill(null)).slice(from)];
  }
  return found;
}

/**
 * Even marks from 0 to at least the largest value: round numbers, or powers of two for bytes.
 * @param {number} largest
 * @param {"rate" | "ms" | "count" | "bytes"} unit
 * @returns {number[]}
 */
export function marks(largest, unit) {
  const least = unit === "count" ? 4 : unit === "bytes" ? 1024 : 1;
  const rough = Math.max(largest, least) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const nice = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * (1 - 1e-9)) ?? 10;
  const step = unit === "bytes" ? 2 ** Math.ceil(Math.log2(rough)) : unit === "count" ? Math.max(1, Math.ceil(nice * power)) : nice * power;
  return [0, 1, 2, 3, 4].map((at) => at * step);
}

/** The newest step of which anything is known. @param {Columns} columns */
export function newest(columns) {
  const fields = Object.entries(columns).filter(([name]) => name !== "t");
  return columns.t.findLastIndex((_, at) => fields.some(([, column]) => column[at] !== null));
}

/** Where the marks of time stand: whole minutes, hours. @param {number} from @param {number} to @returns {number[]} */
export function timeMarks(from, to) {
  const span = to - from;
  const step = [15, 60, 300, 900, 21600].find((seconds) => span / seconds <= 5.01) ?? 21600;
  const zone = new Date(to * 1000).getTimezoneOffset() * 60;
  const found = [];
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) found.push(at);
  return found;
}
