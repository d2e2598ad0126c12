// @ts-check
/** Copying: any text, and a request as a line of curl. Off localhost a browser may refuse its clipboard; then the text is shown to be taken. */
import { curlLine } from "./curl.js";
import { showDialog, toast } from "./dialogs.js";
import { h } from "./dom.js";

/** @param {string} text @param {string} said */
export async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    toast(said, text);
  } catch {
    const area = h("textarea", { readOnly: true, rows: 5, "aria-label": "Text to copy", value: text });
    showDialog({ title: "Copy this", body: [h("p", { class: "muted" }, "This browser keeps its clipboard from the page. The text is selected: press Ctrl+C."), area] });
    area.select();
  }
}

/**
 * @param {() => import("./api.js").Request} request asked when the button is pressed
 * @param {string} [label]
 * @param {string} [what] said to those who do not see what stands around
 */
export function curlButton(request, label = "Copy as curl", what = "") {
  const click = () => copy(curlLine(request(), location.origin), "Copied: paste it into a shell.");
  return h("button", { type: "button", class: "quiet small curl", on: { click } }, label, what && h("span", { class: "unseen" }, ` ${what}`));
}
