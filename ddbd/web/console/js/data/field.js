// @ts-check
/** One value in a form: what kind it is, and its text; checked while it is typed. */
import { fill, freshId, h, setAttribute, setText } from "../dom.js";
import { draftOf, kinds, read, usualKind } from "./values.js";

/** @typedef {import("./values.js").Column} Column */
/** @typedef {import("./values.js").Draft} Draft */
/** @typedef {import("./values.js").Kind} Kind */

const WORDS = /** @type {Record<Kind, string>} */ ({ missing: "leave out", null: "null", text: "text", number: "number", boolean: "true or false", json: "JSON" });

/**
 * @param {Column} column
 * @param {any} value undefined: a new row
 * @param {() => void} changed
 */
export function makeField(column, value, changed) {
  const isNew = value === undefined;
  /** @type {Draft} */
  const first = isNew ? { kind: "missing", text: "" } : draftOf(value, column.type);
  let draft = first;
  const id = freshId("value");
  const wrongId = freshId("wrong");
  const offered = kinds(column.type, isNew);
  const kind = h("select", { class: "kind", "aria-label": `Kind of ${column.name}` }, offered.map((one) => h("option", { value: one }, WORDS[one])));
  const label = h("label", { class: "name", for: id }, column.name, h("small", {}, column.type === "any" ? "" : ` ${column.type}`, column.index && " · index"));
  const place = h("div", { class: "full" });
  const wrong = h("p", { class: "wrong full", id: wrongId, hidden: true });
  const element = h("div", { class: "edit", "data-column": column.name }, label, kind, place, wrong);

  const isChanged = () => draft.kind !== first.kind || draft.text !== first.text;
  const tell = () => {
    const result = read(draft, column.type);
    setText(wrong, result.wrong);
    wrong.hidden = !result.wrong;
    const control = place.firstElementChild;
    if (control) setAttribute(control, "aria-invalid", result.wrong ? "true" : null);
    element.classList.toggle("changed", !isNew && isChanged());
    changed();
  };
  const build = () => {
    kind.value = draft.kind;
    const take = (/** @type {Event} */ event) => {
      draft = { ...draft, text: /** @type {HTMLInputElement} */ (event.target).value };
      tell();
    };
    fill(place, control(draft, { id, "aria-describedby": wrongId, on: { input: take } }, column));
  };
  const setDraft = (/** @type {Draft} */ next) => {
    draft = next;
    build();
    tell();
  };
  kind.addEventListener("change", () => {
    const chosen = /** @type {Kind} */ (kind.value);
    setDraft(chosen === first.kind ? first : { kind: chosen, text: carried(draft, chosen) });
    /** @type {HTMLElement | null} */ (place.querySelector("input, textarea, select"))?.focus();
  });
  // Who begins to type into "left out" or "null" means a value of the usual kind.
  place.addEventListener("click", () => {
    if (draft.kind !== "missing" && draft.kind !== "null") return;
    const usual = usualKind(column.type);
    setDraft({ kind: usual, text: carried(draft, usual) });
    /** @type {HTMLElement | null} */ (place.querySelector("input, textarea, select"))?.focus();
  });
  build();
  return { element, column, isChanged, isMissing: () => draft.kind === "missing", read: () => read(draft, column.type), setDraft };
}

/** What of the old text is good for the new kind. @param {Draft} draft @param {Kind} kind */
function carried(draft, kind) {
  if (kind === "boolean") return draft.text === "false" ? "false" : "true";
  if (kind === "json" && draft.kind === "text") return JSON.stringify(draft.text);
  return kind === "null" || kind === "missing" ? "" : draft.text;
}

/** @param {Draft} draft @param {Record<string, any>} props @param {Column} column */
function control(draft, props, column) {
  const { kind, text } = draft;
  if (kind === "missing") return h("button", { type: "button", class: "nothing", id: props.id, "aria-label": `${column.name} is left out; give it a value` }, "left out: null");
  if (kind === "null") return h("button", { type: "button", class: "nothing", id: props.id, "aria-label": `${column.name} is null; give it a value` }, "null");
  if (kind === "boolean") return h("select", { ...props, value: text }, ["true", "false"].map((one) => h("option", { value: one, selected: one === text }, one)));
  if (kind === "number") return h("input", { ...props, class: "mono", inputmode: column.type === "integer" ? "numeric" : "text", value: text, spellcheck: "false" });
  return h("textarea", { ...props, rows: kind === "json" ? 3 : 1, value: text, spellcheck: "false", autocapitalize: "none", placeholder: kind === "text" ? "the empty text" : '{"a": [1, 2]}' });
}
