// @ts-check
/** What must not be overlooked, above every view: the stream is down, nobody leads, no majority, a full disk, a quarantined node. */
import { fill, h, setText } from "./dom.js";
import { duration, listed, plural } from "./format.js";
import { quorum } from "./cluster/judge.js";
import { nodeUrl } from "./links.js";

/** @param {HTMLElement} place @param {import("./store.js").Store} store */
export function startBanners(place, store) {
  const stale = staleBanner(store);
  const others = h("div");
  let said = "";
  place.append(stale.element, others);
  const look = () => {
    stale.look();
    // Beside an old picture, alarms about it would be guesses.
    const found = store.link.state === "live" ? alarms(store) : [];
    const text = JSON.stringify(found);
    if (text === said) return;
    said = text;
    fill(others, found.map(([kind, title, sentence]) => h("div", { class: `banner ${kind}` }, h("strong", {}, title), h("span", {}, sentence))));
  };
  store.watch(["link", "status", "peers"], look);
  setInterval(stale.look, 1000);
}

/** @param {import("./store.js").Store} store */
function staleBanner(store) {
  // The counting seconds are for the eye alone: a screen reader would read them every second.
  const seconds = h("span", { "aria-hidden": "true" });
  const reason = h("span");
  const links = h("span", { class: "links" });
  const element = h("div", { class: "banner", hidden: true }, h("strong", {}, "Stale ", seconds), reason, links);
  let shown = "";
  const look = () => {
    const { state, since, reason: why } = store.link;
    element.hidden = state !== "stale";
    if (state !== "stale") return;
    const sentence = `${why || "no answer yet"}; trying again. What you see is what was known then.`;
    setText(reason, sentence.charAt(0).toUpperCase() + sentence.slice(1));
    setText(seconds, `since ${duration(Date.now() / 1000 - since)}`);
    const others = store.peers.filter((peer) => peer.id !== store.self);
    const key = others.map((peer) => peer.address).join();
    if (key !== shown) fill(links, others.map((peer) => h("a", { href: nodeUrl(peer.address, location.hash) }, `Console of node ${peer.id}`)));
    shown = key;
  };
  return { element, look };
}

/**
 * @param {import("./store.js").Store} store
 * @returns {[kind: string, title: string, sentence: string][]}
 */
function alarms(store) {
  const { status, peers } = store;
  if (!status) return [];
  /** @type {[string, string, string][]} */
  const found = [];
  const { voters, answering, needed } = quorum(status, peers);
  if (status.waiting) found.push(["warn", "Not part of a cluster yet", sentence(status.waiting)]);
  else if (answering < needed && !peers.some((peer) => peer.asking)) {
    const rest = "Writes wait and are refused in the end; reads with consistency=local still answer.";
    found.push(["bad", "No quorum", `${answering} of ${plural(voters, "voting node")} answer here, ${needed} are needed. ${rest}`]);
  } else if (!status.master) {
    found.push(["warn", "No leader", "An election is under way. Writes are held until there is a leader, or until their timeout."]);
  }
  if (status.disk_full) found.push(["bad", "Disk full", "New rows are refused in the whole cluster; reads and deletes go on."]);
  const frozen = peers.filter((peer) => peer.answers && peer.status?.quarantined).map((peer) => peer.id);
  if (frozen.length) found.push(["bad", `Node ${listed(frozen)} in quarantine`, "Its tables differ from the others'. It serves nothing until it has been reseeded."]);
  return found;
}

/** @param {string} text */
function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
