// @ts-check
/** What happened, newest first, in sentences; the details of each on demand. */
import { fill, h, setAttribute } from "../dom.js";
import { moment } from "../format.js";

/** @typedef {import("../store.js").Happened} Happened */

const TONES = /** @type {Record<string, string>} */ ({
  leader_elected: "accent", leadership_transferred: "accent", peer_back: "ok", cluster_formed: "ok", node_started: "ok", disk_freed: "ok",
  reseeded: "ok", snapshot_installed: "ok", leader_lost: "bad", peer_lost: "bad", disk_full: "bad", quarantined: "bad",
  checkpoint_slow: "warn", slow_disk: "warn", stepped_down: "warn",
});
const SHOWN = 100;

export function makeTimeline() {
  const list = h("ol", { class: "events", "aria-live": "polite", "aria-relevant": "additions" });
  const empty = h("p", { class: "muted events-empty" }, "Nothing yet since this node started.");
  const more = h("button", { type: "button", class: "small", hidden: true, on: { click: () => ((all = true), show()) } }, "Show older");
  const scroll = h("div", { class: "events-scroll", role: "region", "aria-label": "What happened", tabindex: "0" }, list, empty, more);
  const element = h("section", { class: "panel timeline" }, h("h2", {}, "What happened"), scroll);
  let all = false;
  /** @type {Happened[]} */
  let timeline = [];
  /** @type {Map<number, HTMLElement>} */
  let items = new Map();

  const show = () => {
    const wanted = [...timeline].reverse().slice(0, all ? timeline.length : SHOWN);
    const next = new Map(wanted.map((happened) => [happened.id, items.get(happened.id) ?? item(happened)]));
    for (const [id, old] of items) if (next.get(id) !== old) old.remove();
    // Only what is new is put in: an entry that is open, or has the focus, stays as it is.
    [...next.values()].forEach((entry, at) => {
      if (list.children[at] !== entry) list.insertBefore(entry, list.children[at] ?? null);
    });
    items = next;
    empty.hidden = wanted.length > 0;
    more.hidden = all || timeline.length <= SHOWN;
  };
  /** @param {import("../store.js").Store} store */
  const update = (store) => {
    const isOther = store.timeline[0]?.id !== timeline[0]?.id || store.timeline[0]?.at !== timeline[0]?.at;
    if (isOther && !store.timeline.some((happened) => happened.at === timeline[timeline.length - 1]?.at)) {
      items.clear(); // another life of the node: its numbers begin anew
      fill(list);
    }
    timeline = store.timeline;
    show();
  };
  return { element, update };
}

/** @param {Happened} happened */
function item(happened) {
  const stamp = h("time", { datetime: new Date(happened.at * 1000).toISOString() }, moment(happened.at));
  setAttribute(stamp, "title", new Date(happened.at * 1000).toISOString());
  const text = happened.text.charAt(0).toUpperCase() + happened.text.slice(1);
  const details = Object.entries(happened.details ?? {});
  const facts = [["kind", happened.kind], ["node", happened.node], ...details].filter(([, value]) => value !== null && value !== undefined);
  const dot = h("span", { class: `dot ${TONES[happened.kind] ?? ""}`, "aria-hidden": "true" });
  const list = h("dl", { class: "facts" }, facts.flatMap(([name, value]) => [h("dt", {}, String(name).replaceAll("_", " ")), h("dd", {}, shown(value))]));
  const more = h("details", {}, h("summary", {}, h("span", {}, text)), list);
  return h("li", { "data-kind": happened.kind }, stamp, dot, more);
}

/** @param {any} value */
function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}
