// @ts-check
/** Numbers and moments as people read them. All take plain numbers; null is a dash. */

export const NONE = "–";
const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** @param {number | null | undefined} value */
export function whole(value) {
  return isNothing(value) ? NONE : grouped.format(Number(value));
}

/** Three digits that count: 0.42, 7.31, 18.4, 962, 12,400. @param {number | null | undefined} value */
export function short(value) {
  if (isNothing(value)) return NONE;
  const number = Number(value);
  const size = Math.abs(number);
  if (size >= 1000 || number === 0) return grouped.format(number);
  return number.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2).replace(/\.0+$/, "");
}

/** @param {number | null | undefined} value */
export function rate(value) {
  if (isNothing(value)) return NONE;
  return Number(value) < 10 ? String(Math.round(Number(value) * 10) / 10) : whole(value);
}

/** @param {number | null | undefined} value */
export function bytes(value) {
  if (isNothing(value)) return NONE;
  let number = Number(value);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (Math.abs(number) < 1024) return `${unit === "B" ? whole(number) : short(number)} ${unit}`;
    number /= 1024;
  }
  return `${short(number)} TiB`;
}

/** @param {number | null | undefined} value */
export function milliseconds(value) {
  if (isNothing(value)) return NONE;
  return Number(value) >= 10000 ? `${short(Number(value) / 1000)} s` : `${short(value)} ms`;
}

/** @param {number} seconds */
export function duration(seconds) {
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 90) return `${rounded} s`;
  if (rounded < 5400) return `${Math.round(rounded / 60)} min`;
  if (rounded < 129600) return `${Math.round(rounded / 3600)} h`;
  return `${Math.round(rounded / 86400)} days`;
}

/** @param {number} seconds since 1970 */
export function time(seconds) {
  return clock.format(new Date(seconds * 1000));
}

/** The day in front where it is not today. @param {number} seconds since 1970 */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? clock.format(date) : `${day.format(date)}, ${clock.format(date)}`;
}

/** @param {number} count @param {string} one @param {string} [many] */
export function plural(count, one, many = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}

/** `1, 2 and 3`. @param {string[]} words */
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;
}

/** @param {any} value */
function isNothing(value) {
  return value === null || value === undefined || !Number.isFinite(Number(value));
}
