// @ts-check
/** Dialogs that ask, and short notes that go by themselves. A real <dialog>: the browser keeps the focus inside, and Esc closes it. */
import { append, fill, freshId, h } from "./dom.js";

const TOAST_SECONDS = 6;
const TOASTS_MAX = 3;

/**
 * @typedef {object} Parts
 * @property {string} title
 * @property {import("./dom.js").Child[]} body
 * @property {import("./dom.js").Child[]} [foot] buttons; without them there is one that closes
 * @property {boolean} [wide]
 * @property {() => void} [closed]
 * @property {() => void} [submit] what Enter in a field does
 */

/** @param {Parts} parts @returns {HTMLDialogElement} */
export function showDialog(parts) {
  const id = freshId("dialog");
  const dialog = h("dialog", { class: parts.wide ? "wide" : null, "aria-labelledby": id });
  const close = h("button", { type: "button", on: { click: () => dialog.close() } }, "Close");
  const form = h(
    "form",
    { novalidate: true, autocomplete: "off", on: { submit: (/** @type {Event} */ event) => (event.preventDefault(), parts.submit?.()) } },
    h("div", { class: "dialog-head" }, h("h2", { id }, parts.title)),
    h("div", { class: "dialog-body" }, parts.body),
    h("div", { class: "dialog-foot" }, parts.foot ?? close),
  );
  append(dialog, [form]);
  dialog.addEventListener("close", () => {
    dialog.remove();
    parts.closed?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Asks, then does it, and stays open to say what went wrong.
 * @param {object} question
 * @param {string} question.title
 * @param {import("./dom.js").Child[]} question.body what will happen
 * @param {string} question.yes what the button says
 * @param {boolean} [question.danger]
 * @param {string} [question.typed] a name that must be typed first
 * @param {import("./dom.js").Child[]} [question.start] further buttons
 * @param {() => Promise<void>} question.act
 */
export function ask(question) {
  const id = freshId("typed");
  const input = question.typed === undefined ? null : h("input", { id, class: "mono", spellcheck: "false", autocapitalize: "none" });
  const problem = h("div", { role: "alert" });
  const yes = h("button", { type: "submit", class: question.danger ? "danger main" : "main", disabled: input !== null }, question.yes);
  const no = h("button", { type: "button", on: { click: () => dialog.close() } }, "Cancel");
  input?.addEventListener("input", () => {
    yes.disabled = input.value !== question.typed;
  });
  const act = async () => {
    if (yes.disabled) return;
    yes.disabled = true;
    fill(problem);
    try {
      await question.act();
      dialog.close();
    } catch (error) {
      fill(problem, problemBox(error));
      yes.disabled = false;
    }
  };
  const typed = input && h("div", { class: "field" }, h("label", { for: id }, "Type ", h("code", {}, question.typed), " to go on"), input);
  const start = question.start && h("span", { class: "start" }, question.start);
  const dialog = showDialog({ title: question.title, body: [...question.body, typed, problem], foot: [start, no, yes], submit: act });
  (input ?? no).focus();
  return dialog;
}

/**
 * What went wrong, as the node says it.
 * @param {unknown} error
 * @param {() => void} [again]
 * @param {HTMLElement | false} [other] another way on
 */
export function problemBox(error, again, other = false) {
  const { title, detail, code } = /** @type {any} */ (error);
  return h(
    "div",
    { class: "problem" },
    h("h3", {}, title ?? "This page met an error of its own"),
    h("p", {}, detail ?? String(error)),
    code && code !== "unreachable" && h("p", { class: "small muted" }, h("code", {}, code)),
    again && h("p", { class: "buttons" }, h("button", { type: "button", class: "small", on: { click: again } }, "Try again"), other),
  );
}

/** @param {string} text @param {string} [code] */
export function toast(text, code) {
  const box = /** @type {HTMLElement} */ (document.getElementById("toasts"));
  const note = h("p", { class: "toast" }, text, code && h("code", {}, code));
  box.append(note);
  while (box.children.length > TOASTS_MAX) box.firstElementChild?.remove();
  setTimeout(() => note.remove(), TOAST_SECONDS * 1000);
}
