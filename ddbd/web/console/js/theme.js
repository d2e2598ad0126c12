// @ts-check
/** Light, dark, or as the system has it; remembered in this browser. `early.js` applies it before the first paint. */
import { fill, s } from "./dom.js";

const KEY = "ddbd.theme";
const ORDER = ["system", "light", "dark"];
const NAMES = /** @type {Record<string, string>} */ ({ system: "as the system has it", light: "light", dark: "dark" });
const PICTURES = /** @type {Record<string, string>} */ ({
  system: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6l1.4 1.4M19 5l-1.4 1.4M6.4 17.6 5 19",
  dark: "M20 14.500A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.500z",
});

/** @param {HTMLButtonElement} button */
export function startTheme(button) {
  let theme = document.documentElement.dataset.theme ?? "system";
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const filled = theme === "light" ? "none" : "currentColor";
    const path = s("path", { d: PICTURES[theme], fill: theme === "system" ? "none" : filled, stroke: "currentColor", "stroke-width": 1.8, "stroke-linecap": "round" });
    const half = theme === "system" && s("path", { d: "M12 3a9 9 0 0 1 0 18z", fill: "currentColor" });
    fill(button, s("svg", { viewBox: "0 0 24 24", width: 18, height: 18, "aria-hidden": "true" }, path, half));
    button.setAttribute("aria-label", `Theme: ${NAMES[theme]}`);
    button.title = `Theme: ${NAMES[theme]}`;
  };
  button.addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    remember(theme);
    show();
  });
  show();
}

/** @param {string} theme */
function remember(theme) {
  try {
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Storage is switched off: the choice lasts as long as the page.
  }
}
