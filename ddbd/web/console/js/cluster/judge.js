// @ts-check
/** What the facts mean: which state a node is in, who has a majority, whose tables differ. Functions of their arguments. */

/** @typedef {import("../store.js").Status} Status */
/** @typedef {import("../store.js").Peer} Peer */

/** @param {Status} status @param {Peer[]} peers */
export function quorum(status, peers) {
  const ids = status.membership?.voters?.length ? status.membership.voters : status.nodes.map((node) => node.id);
  const answering = ids.filter((id) => peers.find((peer) => peer.id === id)?.answers ?? id === status.node.id).length;
  return { voters: ids.length, answering, needed: Math.floor(ids.length / 2) + 1 };
}

/** Who leads, by the answer of the highest term. @param {Peer[]} peers @returns {string | null} */
export function leaderId(peers) {
  const told = peers.filter((peer) => peer.answers && peer.status?.master);
  told.sort((a, b) => Number(b.status?.term) - Number(a.status?.term));
  return told[0]?.status?.master?.id ?? null;
}

/**
 * The one word for a node, and how bad it is.
 * @param {Peer} peer
 * @param {string | null} leader
 * @returns {{word: string, tone: "accent" | "ok" | "warn" | "bad" | ""}}
 */
export function stateOf(peer, leader) {
  if (peer.asking) return { word: "asking", tone: "" };
  if (!peer.answers) return { word: "no answer", tone: "bad" };
  if (!peer.status) return { word: "unknown", tone: "" };
  if (peer.status.quarantined) return { word: "quarantined", tone: "bad" };
  if (peer.status.node.role === "leader") return leader === peer.id ? { word: "leader", tone: "accent" } : { word: "deposed", tone: "warn" };
  if (peer.status.node.role === "candidate") return { word: "candidate", tone: "warn" };
  if (peer.status.node.role === "learner") return { word: "learner", tone: "warn" };
  return { word: peer.status.node.role, tone: peer.status.ready ? "ok" : "warn" };
}

/**
 * The ids of nodes whose tables hash otherwise than those of most nodes at the same index.
 * @param {Peer[]} peers
 * @returns {Set<string>}
 */
export function differing(peers) {
  /** @type {Map<string, Map<string, string[]>>} */
  const places = new Map();
  for (const { id, status } of peers) {
    if (!status?.state?.hash) continue;
    const place = `${status.hash_format}/${status.state.index}`;
    const hashes = places.get(place) ?? new Map();
    places.set(place, hashes.set(status.state.hash, [...(hashes.get(status.state.hash) ?? []), id]));
  }
  const found = new Set();
  for (const hashes of places.values()) {
    const groups = [...hashes.values()].sort((a, b) => b.length - a.length);
    // Where no group is larger nobody knows who is right, so all are named.
    const isTie = groups.length > 1 && groups[0].length === groups[1].length;
    for (const id of groups.slice(isTie ? 0 : 1).flat()) found.add(id);
  }
  return found;
}

/** How far a node is behind the leader, in entries. @param {Peer} peer @param {Peer[]} peers @param {string | null} leader */
export function lag(peer, peers, leader) {
  const head = peers.find((other) => other.id === leader)?.status?.commit_index;
  if (!peer.status || head === undefined) return null;
  return Math.max(0, head - peer.status.applied_index);
}
