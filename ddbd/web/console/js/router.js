// @ts-check
/**
 * The state of the page is its address: `#/data/DDB0/students?after=7`. A view is opened once and told of each change of its parameters;
 * another view takes its place when the first word changes.
 */
import { fill } from "./dom.js";

/** @typedef {{view: string, path: string[], params: URLSearchParams}} Route */
/** @typedef {{update: (route: Route) => void, close: () => void}} View */
/** @typedef {(main: HTMLElement, route: Route) => View} Opener */

/** @param {string} hash @returns {Route} */
export function parsed(hash) {
  const [path, query = ""] = splitOnce(hash.replace(/^#\/?/, ""), "?");
  const [view, ...rest] = path.split("/").filter(Boolean).map(decoded);
  return { view: view ?? "", path: rest, params: new URLSearchParams(query) };
}

/**
 * An address within the page. Parameters that are null, undefined or "" are left out.
 * @param {string[]} path
 * @param {Record<string, any>} [params]
 */
export function link(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** @param {string} address from `link` @param {boolean} [replace] without a step in the history */
export function go(address, replace = false) {
  if (replace) location.replace(address);
  else location.hash = address;
}

/**
 * The same address with other parameters.
 * @param {Route} route
 * @param {Record<string, any>} changes
 */
export function withParams(route, changes) {
  return link([route.view, ...route.path], { ...Object.fromEntries(route.params), ...changes });
}

/**
 * @param {HTMLElement} main
 * @param {Record<string, Opener>} views the first one is the start
 * @param {(route: Route) => void} changed
 */
export function startRouter(main, views, changed) {
  /** @type {View | null} */
  let open = null;
  let name = "";
  const turn = () => {
    const route = parsed(location.hash);
    if (!Object.hasOwn(views, route.view)) {
      go(link([Object.keys(views)[0]]), true);
      return;
    }
    changed(route);
    if (open && name === route.view) {
      open.update(route);
      return;
    }
    const isFirst = open === null;
    open?.close();
    fill(main);
    name = route.view;
    open = views[name](main, route);
    if (!isFirst) {
      window.scrollTo(0, 0);
      main.focus({ preventScroll: true });
    }
  };
  addEventListener("hashchange", turn);
  turn();
}

/** @param {string} text @param {string} sign */
function splitOnce(text, sign) {
  const at = text.indexOf(sign);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

/** @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
