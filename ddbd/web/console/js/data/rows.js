// @ts-check
/** A table's rows, a page at a time by key; search; and the way into a row. The address holds all of it, so the way back is the browser's. */
import { send, wasCalledOff, asProblem } from "../api.js";
import { curlButton } from "../copy.js";
import { problemBox } from "../dialogs.js";
import { fill, h, setAttribute, setText } from "../dom.js";
import { duration, plural, whole } from "../format.js";
import { parse } from "../json.js";
import { go, link, withParams } from "../router.js";
import { store } from "../store.js";
import { reload, tableOf } from "./catalogue.js";
import { deleteRow, openEditor } from "./editor.js";
import { openDownload, openUpload } from "./exchange.js";
import { makeGrid } from "./grid.js";
import { makeSearch } from "./search.js";

/** @typedef {import("../router.js").Route} Route */

const LIMITS = ["25", "50", "100", "500"];
const LIMIT = "50";
const WITHOUT_LEADER = ["no_leader", "not_ready"];

/** What the address asks of the table. @param {Route} route @returns {import("../api.js").Request} */
function requestOf(route) {
  const [db, table] = route.path;
  const { column, op, value = "", after } = Object.fromEntries(route.params);
  const searched = column === undefined ? {} : { column, op: op ?? "eq", value };
  const limit = LIMITS.includes(route.params.get("limit") ?? "") ? route.params.get("limit") : LIMIT;
  const consistency = isLocal(route) ? "local" : null;
  return { path: column === undefined ? "/select" : "/search", query: { db, table, ...searched, limit, after, consistency } };
}

/** Whether this node's own copy is read. @param {Route} route */
function isLocal(route) {
  return route.params.get("consistency") === "local";
}

/** The key after which the next page begins, from the header Link. @param {string | null} header */
export function nextAfter(header) {
  const found = /<([^>]*)>\s*;\s*rel="next"/.exec(header ?? "");
  return found ? new URLSearchParams(found[1].split("?")[1] ?? "").get("after") : null;
}

/** @type {import("../router.js").Opener} */
export function openRows(main, start) {
  const [db, name] = start.path;
  let route = start;
  let loaded = "";
  let drawn = "";
  let calling = new AbortController();
  /** @type {HTMLDialogElement | null} */
  let editor = null;
  let isOpen = true;
  let inEditor = "";

  const again = async () => {
    await load(route);
    await reload();
  };
  const columns = () => tableOf(db, name)?.columns ?? [];
  const count = h("p", { class: "number-of-rows" });
  const search = makeSearch((params) => go(withParams(route, { ...params, after: "", page: "" })));
  const grid = makeGrid({
    open: (rowId) => withParams(route, { row: rowId, new: "" }),
    remove: (rowId, version) => deleteRow({ db, table: name, rowId, version, done: again }),
  });
  const problem = h("div", { role: "alert" });
  const copy = h("p", { class: "own-copy", hidden: true });
  const foot = makeFoot((limit) => go(withParams(route, { limit, after: "", page: "" })));
  const button = (/** @type {string} */ text, /** @type {() => void} */ click, kind = "") => h("button", { type: "button", class: kind, on: { click } }, text);
  main.append(
    h(
      "div",
      { class: "head" },
      h(
        "div",
        { class: "head-text" },
        h("ol", { class: "crumbs" }, h("li", {}, h("a", { href: "#/data" }, "Data")), h("li", {}, h("a", { href: link(["data", db]) }, db))),
        h("h1", {}, name),
        count,
      ),
      h(
        "div",
        { class: "buttons" },
        curlButton(() => requestOf(route)),
        button("Download…", () => openDownload(requestOf(route))),
        button("Upload…", () => openUpload({ db, table: name, columns: columns(), done: again })),
        button("Insert a row…", () => go(withParams(route, { new: "1", row: "" })), "main"),
      ),
    ),
    search.element,
    problem,
    copy,
    h("div", { class: "panel grid-panel" }, grid.element, foot.element),
  );

  const load = async (/** @type {Route} */ wanted) => {
    calling.abort();
    calling = new AbortController();
    const { signal } = calling;
    grid.setBusy(true);
    try {
      const request = requestOf(wanted);
      const response = await send({ ...request, query: { ...request.query, versions: "true" } }, signal);
      const rows = parse(await response.text().catch((error) => Promise.reject(asProblem(error))));
      if (signal.aborted) return;
      const next = nextAfter(response.headers.get("Link"));
      fill(problem);
      showAge(wanted, response.headers.get("Ddb-Staleness-Ms"));
      grid.show(rows, columns(), emptyWords(wanted));
      drawn = JSON.stringify(columns());
      const page = Number(wanted.params.get("page") ?? 1);
      foot.update({ rows: rows.length, page, limit: String(request.query?.limit), first: withParams(wanted, { after: "", page: "" }), next: next === null ? null : withParams(wanted, { after: next, page: page + 1 }) });
    } catch (error) {
      if (wasCalledOff(error)) return;
      const own = withParams(wanted, { consistency: "local", after: "", page: "" });
      const isOffered = WITHOUT_LEADER.includes(/** @type {any} */ (error).code) && !isLocal(wanted);
      fill(problem, problemBox(error, () => load(route), isOffered && h("a", { class: "button small", href: own }, "Read this node's own copy")));
      showAge(wanted, null);
      grid.show([], columns(), null);
      foot.update(null);
    } finally {
      if (!signal.aborted) grid.setBusy(false);
    }
  };

  /** A copy says how old it may be. @param {Route} shown @param {string | null} age in milliseconds, or "unknown" */
  const showAge = (shown, age) => {
    copy.hidden = !isLocal(shown);
    const known = age !== null && age !== "unknown" ? `about ${duration(Math.ceil(Number(age) / 1000))} old at most` : "of unknown age";
    const back = h("a", { href: withParams(shown, { consistency: "", after: "", page: "" }) }, "Ask the cluster");
    fill(copy, `This node's own copy, ${known}. `, back);
  };

  const showEditor = () => {
    const rowId = route.params.get("row");
    const isNew = route.params.get("new") === "1";
    const key = isNew ? "new" : rowId === null ? "" : `row ${rowId}`;
    if (key === inEditor) return;
    inEditor = key;
    editor?.close();
    if (!key) return;
    const closed = () => {
      if (inEditor !== key) return;
      inEditor = "";
      go(withParams(route, { row: "", new: "" }), true);
    };
    editor = openEditor({ db, table: name, rowId: isNew ? null : rowId, columns: columns(), done: again, closed });
  };

  const update = async (/** @type {Route} */ next) => {
    route = next;
    // A long catalogue is told seldom: the table may be newer. What is wrong is said by the rows' own call.
    if (!tableOf(db, name)) await reload().catch(() => undefined);
    if (!isOpen) return;
    const key = JSON.stringify(requestOf(route));
    search.update(columns(), route.params);
    if (key !== loaded) load(route);
    loaded = key;
    showEditor();
  };
  update(start);
  const stop = store.watch(["status"], () => {
    const table = tableOf(db, name);
    setText(count, table ? `${plural(table.rows, "row")}, ${plural(table.columns.length, "column")}` : store.status ? "There is no such table on this node." : "");
    search.update(columns(), route.params);
    const known = JSON.stringify(columns());
    if (drawn && known !== drawn && columns().length) load(route); // the table was made anew, or its columns come to be known only now
  });
  return {
    update,
    close: () => {
      isOpen = false;
      inEditor = "";
      editor?.close();
      calling.abort();
      stop();
    },
  };
}

/** @param {Route} route @returns {[string, string]} */
function emptyWords(route) {
  if (route.params.has("column")) return ["No row matches", "Equals takes the whole value; begins with and contains look into text. Above and below compare numbers with numbers, text with text."];
  if (route.params.has("after")) return ["No further rows", "The pages end here. Rows that are inserted behind this key show up when the page is loaded again."];
  return ["No row yet", "Insert one, or upload a file of CSV or of JSON lines."];
}

/** @param {(limit: string) => void} resize */
function makeFoot(resize) {
  const said = h("span");
  const limit = h("select", { "aria-label": "Rows a page" }, LIMITS.map((one) => h("option", { value: one }, `${one} a page`)));
  limit.addEventListener("change", () => resize(limit.value));
  const first = h("a", { class: "button small" }, "First page");
  const next = h("a", { class: "button small", rel: "next" }, "Next page");
  const element = h("div", { class: "rows-foot" }, said, limit, h("span", { class: "buttons" }, first, next));
  /** @param {{rows: number, page: number, limit: string, first: string, next: string | null} | null} now */
  const update = (now) => {
    setText(said, now ? `${now.page > 1 ? `Page ${whole(now.page)}: ` : ""}${plural(now.rows, "row")}${now.next === null && now.rows ? ", the last ones" : ""}` : "");
    limit.value = now?.limit ?? LIMIT;
    first.hidden = !now || now.page <= 1;
    next.hidden = !now?.next;
    setAttribute(first, "href", now?.first ?? null);
    setAttribute(next, "href", now?.next ?? null);
  };
  update(null);
  return { element, update };
}
