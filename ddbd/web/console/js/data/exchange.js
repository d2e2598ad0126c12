// @ts-check
/** Whole tables in and out, as streams: a download that never takes half for whole, an upload that goes on where it stopped. */
import { asProblem, freshKey, problemOf, send, wasCalledOff } from "../api.js";
import { curlButton } from "../copy.js";
import { target } from "../curl.js";
import { problemBox, showDialog, toast } from "../dialogs.js";
import { fill, freshId, h, setText } from "../dom.js";
import { bytes, plural, whole } from "../format.js";

const FORMATS = /** @type {Record<string, {type: string, ending: string, words: string}>} */ ({
  csv: { type: "text/csv", ending: "csv", words: "for spreadsheets; types of values do not survive" },
  ndjson: { type: "application/x-ndjson", ending: "ndjson", words: "a row a line; can be uploaded again as it is" },
  json: { type: "application/json", ending: "json", words: "one array" },
});
const BLOB_BYTES = 4 * 1024 * 1024; // after so much the browser takes the pieces, which it may keep on disk

/** @param {import("../api.js").Request} page what is shown: a table, perhaps searched */
export function openDownload(page) {
  const { limit: _, after: __, ...query } = /** @type {Record<string, any>} */ (page.query);
  let format = "csv";
  const request = () => ({ path: page.path, query, headers: { Accept: FORMATS[format].type } });
  const calling = new AbortController();
  const said = h("p", { class: "muted", "aria-live": "polite" }, "");
  const problem = h("div", { role: "alert" });
  const begin = h("button", { type: "submit", class: "main" }, "Download");
  const choices = Object.entries(FORMATS).map(([name, { words }]) =>
    h("label", { class: "choice" }, h("input", { type: "radio", name: "format", value: name, checked: name === format, on: { change: () => (format = name) } }), h("span", {}, h("b", {}, name.toUpperCase()), " ", h("span", { class: "muted small" }, words))),
  );
  const submit = async () => {
    if (begin.disabled) return;
    begin.disabled = true;
    fill(problem);
    try {
      const blob = await fetched(request(), calling.signal, (size) => setText(said, `${bytes(size)} so far`));
      const { ending } = FORMATS[format];
      saveAs(blob, `${query.db}.${query.table}.${ending}`);
      dialog.close();
      toast(`Downloaded ${bytes(blob.size)}.`);
    } catch (error) {
      if (wasCalledOff(error)) return;
      setText(said, "");
      fill(problem, problemBox(error));
      begin.disabled = false;
    }
  };
  const what = query.column === undefined ? `All rows of ${query.table}` : `All rows of ${query.table} that the search finds`;
  const dialog = showDialog({
    title: `Download ${query.table}`,
    body: [h("p", {}, `${what}, as of one moment.`), ...choices, said, problem],
    foot: [h("span", { class: "start" }, curlButton(request)), h("button", { type: "button", on: { click: () => dialog.close() } }, "Cancel"), begin],
    submit,
    closed: () => calling.abort(),
  });
}

/** @param {import("../api.js").Request} request @param {AbortSignal} signal @param {(size: number) => void} progress */
async function fetched(request, signal, progress) {
  const response = await send(request, signal);
  const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body).getReader();
  const type = response.headers.get("Content-Type") ?? "";
  let blob = new Blob([], { type });
  /** @type {Uint8Array<ArrayBuffer>[]} */
  let pieces = [];
  let size = 0;
  try {
    for (let step = await reader.read(); !step.done; step = await reader.read()) {
      pieces.push(step.value);
      size += step.value.length;
      progress(size);
      if (size - blob.size > BLOB_BYTES) [blob, pieces] = [new Blob([blob, ...pieces], { type }), []];
    }
  } catch (error) {
    throw asProblem(error, `The answer broke off after ${bytes(size)}. No file was made, since it would be half of the table.`);
  }
  return new Blob([blob, ...pieces], { type });
}

/** @param {Blob} blob @param {string} name */
function saveAs(blob, name) {
  const address = URL.createObjectURL(blob);
  const anchor = h("a", { href: address, download: name, hidden: true });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** @param {{db: string, table: string, columns: import("./values.js").Column[], done: () => Promise<void>}} wish */
export function openUpload({ db, table, columns, done }) {
  const id = freshId("file");
  const file = h("input", { id, type: "file", accept: ".csv,.ndjson,.jsonl,text/csv,application/x-ndjson" });
  const replaces = h("input", { type: "checkbox" });
  const bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Uploaded" });
  const said = h("p", { class: "muted", "aria-live": "polite" }, "");
  const problem = h("div", { role: "alert" });
  const begin = h("button", { type: "submit", class: "main", disabled: true }, "Upload");
  /** @type {XMLHttpRequest | null} */
  let running = null;
  let key = freshKey("upload");
  const chosen = () => file.files?.[0];
  const request = () => ({
    method: "POST",
    path: "/insert",
    query: { db, table, ...(replaces.checked ? { upsert: "true" } : {}) },
    headers: { "Content-Type": typeOf(chosen()?.name ?? ""), "Idempotency-Key": key },
    file: chosen()?.name ?? "rows.csv",
  });
  const renew = () => {
    key = freshKey("upload"); // another file, or another meaning: another load
    begin.disabled = !chosen();
    setText(begin, "Upload");
    setText(said, chosen() ? `${bytes(chosen()?.size)} of ${typeOf(chosen()?.name ?? "") === "text/csv" ? "CSV" : "JSON lines"}` : "");
    fill(problem);
    bar.hidden = true;
  };
  file.addEventListener("change", renew);
  replaces.addEventListener("change", renew);

  const submit = async () => {
    const data = chosen();
    if (!data || begin.disabled) return;
    begin.disabled = true;
    fill(problem);
    bar.hidden = false;
    running = new XMLHttpRequest();
    try {
      const answer = await uploaded(running, request(), data, (sent) => {
        bar.value = sent / (data.size || 1);
        setText(said, sent < data.size ? `${bytes(sent)} of ${bytes(data.size)}` : `${bytes(data.size)} sent; the nodes write the rest`);
      });
      setText(said, `Done: ${plural(answer.rows, "row")} in ${plural(answer.slices, "slice")}.`);
      setText(begin, "Uploaded");
      toast(`Uploaded ${plural(answer.rows, "row")} into ${table}.`);
      await done();
    } catch (error) {
      if (wasCalledOff(error)) return;
      const { code, more } = /** @type {import("../api.js").Problem} */ (error);
      fill(problem, problemBox(error), whereIn(more));
      setText(begin, "Go on from there");
      begin.disabled = false;
      // The tables refuse a slice the same way each time under its key; a row that could not be read may be mended under the old one.
      if (more?.first_row !== undefined || code === "idempotency_mismatch") key = freshKey("upload");
      if (more?.slices > 0) await done();
    } finally {
      running = null;
    }
  };
  const names = columns.map((column) => column.name).join(", ");
  const dialog = showDialog({
    title: `Upload into ${table}`,
    body: [
      h("p", {}, "CSV with a header line, or JSON with a row a line. Any length: it is written in slices of up to 1,000 rows, each whole or not at all."),
      h("p", { class: "muted small" }, `Columns: row_id (optional), ${names}.`),
      h("div", { class: "field" }, h("label", { for: id }, "File"), file),
      h("label", { class: "choice" }, replaces, "Replace rows that are there (upsert)"),
      bar,
      said,
      problem,
    ],
    foot: [h("span", { class: "start" }, curlButton(request)), h("button", { type: "button", on: { click: () => dialog.close() } }, "Close"), begin],
    submit,
    closed: () => running?.abort(),
  });
}

/** Which row it was, and what is done already. @param {Record<string, any>} more */
function whereIn(more) {
  if (!more || more.rows === undefined) return h("p", { class: "muted small" }, "Slices that are done stay done; the same file sent again passes over them.");
  const row = more.row !== undefined ? `Row ${whole(more.row)} of the file. ` : more.first_row !== undefined ? `Somewhere in rows ${whole(more.first_row)} to ${whole(more.last_row)}. ` : "";
  return h("p", { class: "small" }, h("b", {}, row), `${plural(more.rows, "row")} before are written and stay.`);
}

/** @param {string} name */
function typeOf(name) {
  return /\.(ndjson|jsonl|json)$/i.test(name) ? "application/x-ndjson" : "text/csv";
}

/**
 * By XMLHttpRequest, since `fetch` tells nothing of how much has been sent. The browser reads the file from disk as it goes.
 * @param {XMLHttpRequest} call
 * @param {import("../api.js").Request} request
 * @param {File} file
 * @param {(sent: number) => void} progress
 * @returns {Promise<{rows: number, slices: number, index: number}>}
 */
function uploaded(call, request, file, progress) {
  return new Promise((resolve, reject) => {
    call.open("POST", target(request));
    for (const [name, value] of Object.entries(request.headers ?? {})) call.setRequestHeader(name, value);
    call.upload.addEventListener("progress", (event) => progress(event.loaded));
    call.addEventListener("load", () => (call.status === 200 ? resolve(JSON.parse(call.responseText)) : reject(problemOf(call.status, call.responseText))));
    call.addEventListener("error", () => reject(asProblem(null, "The connection broke. What was written stays; the same file sent again goes on from there.")));
    call.addEventListener("abort", () => reject(new DOMException("called off", "AbortError")));
    call.send(file);
  });
}
