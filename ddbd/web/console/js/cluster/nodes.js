// @ts-check
/** The nodes in numbers, one row each. Rows are made once and their texts changed, so that nothing jumps and the focus stays. */
import { copy } from "../copy.js";
import { h, setAttribute, setText } from "../dom.js";
import { duration, milliseconds, NONE, rate, whole } from "../format.js";
import { nodeUrl } from "../links.js";
import { differing, lag, leaderId, stateOf } from "./judge.js";

/** @typedef {import("../store.js").Store} Store */
/** @typedef {import("../store.js").Peer} Peer */

const HEADS = ["Node", "State", "Term", "Applied", "Behind", "Answers in", "Writes/s", "Reads/s", "State hash", "Checks", ""];
const NUMBERS = new Set(["Term", "Applied", "Behind", "Answers in", "Writes/s", "Reads/s"]);
const HASH_SHOWN = 8;

/** @param {(id: string) => void} lead */
export function makeNodes(lead) {
  const body = h("tbody");
  const heads = HEADS.map((head) => h("th", { scope: "col", class: NUMBERS.has(head) ? "number" : null }, head || h("span", { class: "unseen" }, "Leadership")));
  const table = h("table", { class: "nodes" }, h("caption", { class: "unseen" }, "Nodes of the cluster"), h("thead", {}, h("tr", {}, heads)), body);
  const element = h("div", { class: "panel scroll nodes-panel", role: "region", "aria-label": "Nodes", tabindex: "0" }, table);
  /** @type {Map<string, ReturnType<typeof makeRow>>} */
  const rows = new Map();

  const update = (/** @type {Store} */ store) => {
    const wanted = new Set(store.peers.map((peer) => peer.id));
    for (const [id, row] of rows) if (!wanted.has(id)) (row.element.remove(), rows.delete(id));
    const leader = leaderId(store.peers);
    const odd = differing(store.peers);
    for (const peer of store.peers) {
      let row = rows.get(peer.id);
      if (!row) {
        row = makeRow(peer, lead);
        rows.set(peer.id, row);
        body.append(row.element);
      }
      row.update(peer, { leader, isSelf: peer.id === store.self, behind: lag(peer, store.peers, leader), isOdd: odd.has(peer.id) });
    }
    tick(store);
  };
  const tick = (/** @type {Store} */ store) => {
    for (const peer of store.peers) rows.get(peer.id)?.tick(peer, store.now());
  };
  return { element, update, tick };
}

/** @param {Peer} peer @param {(id: string) => void} lead */
function makeRow(peer, lead) {
  let hash = "";
  const address = h("a", { href: nodeUrl(peer.address, "#/cluster") }, peer.address);
  const self = h("span", { class: "badge", hidden: true }, "this node");
  const badge = h("span", { class: "badge" });
  const answers = h("span");
  const trouble = h("span", { class: "wrong trouble", hidden: true });
  const copyHash = h("button", { type: "button", class: "quiet small mono hash", on: { click: () => copy(hash, `Copied the state hash of node ${peer.id}.`) } });
  const odd = h("span", { class: "badge bad", hidden: true }, "differs");
  const ready = h("span", { class: "badge" });
  const healthy = h("span", { class: "badge" });
  const button = h("button", { type: "button", class: "small", on: { click: () => lead(peer.id) } });
  const cells = {
    Node: h("td", {}, h("span", { class: "node-name" }, h("span", {}, h("strong", {}, peer.id), self), address)),
    State: h("td", {}, badge),
    Term: h("td"), Applied: h("td"), Behind: h("td"),
    "Answers in": h("td", {}, answers, trouble),
    "Writes/s": h("td"), "Reads/s": h("td"),
    "State hash": h("td", {}, h("span", { class: "hash-cell" }, copyHash, odd)),
    Checks: h("td", {}, h("span", { class: "checks" }, ready, healthy)),
    "": h("td", { class: "act" }, button),
  };
  for (const [name, cell] of Object.entries(cells)) {
    if (NUMBERS.has(name)) cell.classList.add("number");
    if (name) cell.dataset.label = name;
  }
  const element = h("tr", { "data-node": peer.id }, Object.values(cells));

  /** @param {Peer} now @param {{leader: string | null, isSelf: boolean, behind: number | null, isOdd: boolean}} facts */
  const update = (now, facts) => {
    const { word, tone } = stateOf(now, facts.leader);
    const status = now.status;
    element.classList.toggle("old", !now.answers);
    self.hidden = !facts.isSelf;
    badge.className = `badge ${tone}`;
    setText(badge, word);
    setText(cells.Term, whole(status?.term));
    setText(cells.Applied, whole(status?.applied_index));
    setText(cells.Behind, whole(facts.behind));
    setText(cells["Writes/s"], now.answers ? rate(now.rates?.writes) : NONE);
    setText(cells["Reads/s"], now.answers ? rate(now.rates?.reads) : NONE);
    hash = status?.state?.hash ?? "";
    setText(copyHash, hash ? hash.slice(0, HASH_SHOWN) : NONE);
    copyHash.disabled = !hash;
    setAttribute(copyHash, "aria-label", hash ? `Copy the state hash of node ${now.id}, ${hash.slice(0, HASH_SHOWN)} and so on` : `Node ${now.id} tells no state hash`);
    setAttribute(copyHash, "title", hash || null);
    odd.hidden = !facts.isOdd;
    check(ready, now.answers, status?.ready, "ready");
    check(healthy, now.answers, status?.healthy, "healthy");
    const leads = facts.leader === now.id;
    setText(button, leads ? "Step down…" : "Make leader…");
    setAttribute(button, "aria-label", leads ? `Step node ${now.id} down` : `Make node ${now.id} the leader`);
    button.disabled = !now.answers || status?.node.role === "learner";
  };

  /** What counts seconds. @param {Peer} now @param {number} time */
  const tick = (now, time) => {
    setText(answers, now.answers ? milliseconds(now.ms) : now.asking ? "asking" : now.seen ? `silent for ${duration(time - now.seen)}` : "never seen");
    setText(trouble, now.answers || now.asking ? "" : now.error ?? "");
    trouble.hidden = !trouble.textContent;
  };
  return { element, update, tick };
}

/** @param {HTMLElement} badge @param {boolean} answers @param {boolean | undefined} holds @param {string} word */
function check(badge, answers, holds, word) {
  badge.className = `badge ${answers && holds !== undefined ? (holds ? "ok" : "bad") : ""}`;
  setText(badge, !answers || holds === undefined ? "unknown" : holds ? word : `not ${word}`);
  badge.hidden = word === "healthy" && (!answers || holds === undefined);
}
