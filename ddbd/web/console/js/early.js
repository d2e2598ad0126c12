// @ts-check
// Before the first paint, so that a remembered theme does not flash. Not a module: those run after the page is parsed.
"use strict";
try {
  const theme = localStorage.getItem("ddbd.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is switched off in this browser: the system's theme it is.
}
