// @ts-check
/** Joins the parts: the feed fills the store, the router opens views, the bar shows how things are. */
import { startBanners } from "./banners.js";
import { openCharts } from "./charts/view.js";
import { openCluster } from "./cluster/view.js";
import { openData } from "./data/view.js";
import { setAttribute, setText } from "./dom.js";
import { startFeed } from "./feed.js";
import { openApi } from "./openapi/view.js";
import { startRouter } from "./router.js";
import { startShortcuts } from "./shortcuts.js";
import { store } from "./store.js";
import { startTheme } from "./theme.js";

const TITLES = /** @type {Record<string, string>} */ ({ cluster: "Cluster", charts: "Charts", data: "Data", api: "API" });

/** @template {HTMLElement} E @param {string} id @returns {E} */
function byId(id) {
  return /** @type {E} */ (document.getElementById(id));
}

function showPulse() {
  const { link, status, self } = store;
  const tone = link.state === "opening" ? "" : link.state === "stale" || !status?.ready ? "warn" : status.healthy ? "ok" : "bad";
  byId("pulse-dot").className = `dot ${tone}`;
  const leader = status?.master ? `node ${status.master.id} leads` : "no leader";
  const now = link.state === "stale" ? "stale" : status?.master && !status.ready ? "not caught up" : leader;
  setText(byId("pulse-text"), self ? `Node ${self} · ${now}` : link.state === "stale" ? "Not connected" : "Connecting");
}

/** @param {import("./router.js").Route} route */
function showPlace(route) {
  for (const anchor of document.querySelectorAll("#nav a")) {
    setAttribute(anchor, "aria-current", /** @type {HTMLElement} */ (anchor).dataset.view === route.view ? "page" : null);
  }
  const place = [...route.path].reverse().join(" in ");
  document.title = `${place || TITLES[route.view]} · ddbd`;
}

const main = byId("main");
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address belongs to the views
  main.focus();
});
startTheme(byId("theme"));
startShortcuts(byId("help"));
startBanners(byId("banners"), store);
store.watch(["link", "status"], showPulse);
startRouter(main, { cluster: openCluster, charts: openCharts, data: openData, api: openApi }, showPlace);
startFeed(store, "feed");
