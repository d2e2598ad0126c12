// @ts-check
/**
 * What the page knows of the cluster, fed by the stream of events (`feed.js`) and watched by the views. Nothing here touches the page.
 *
 * @typedef {{id: string, address: string, is_master: boolean, reachable: boolean | null, match_index: number | null, lag_entries: number | null}} Member
 * @typedef {{node: {id: string, address: string, role: string, is_master: boolean, reactor: Record<string, number> | null},
 *   master: {id: string, address: string} | null, term: number, last_index: number, commit_index: number, applied_index: number,
 *   default_database: string | null, databases: {name: string, tables: Table[]}[], nodes: Member[], ready: boolean, healthy: boolean,
 *   quarantined: any, state: {index: number, hash: string | null, compared_index: number | null}, hash_format: any,
 *   membership: {voters: string[], outgoing: string[], learners: string[]} | null, disk_full: boolean, seeding: any, waiting?: string}} Status
 * @typedef {{name: string, columns: string[], types?: string[], indexed?: string[], row_count: number}} Table
 * @typedef {{id: string, address: string, answers: boolean, asking?: boolean, ms: number | null, error: string | null, seen: number | null,
 *   status: Status | null, rates: {writes: number | null, reads: number | null} | null}} Peer
 * @typedef {{id: number, at: number, kind: string, node: string | null, text: string, details: Record<string, any>}} Happened
 * @typedef {Record<string, (number | null)[]>} Columns
 */

const TIMELINE_MAX = 500;
const SPANS = { "1s": { step: 1, points: 900 }, "10s": { step: 10, points: 8640 } };
const MEANS = new Set(["writes", "reads", "errors"]); // rates: of several samples the mean is told, of all else the largest

/** @typedef {"link" | "status" | "peers" | "samples" | "timeline"} Topic */

export class Store {
  constructor() {
    /** @type {{state: "opening" | "live" | "stale", since: number, reason: string}} */
    this.link = { state: "opening", since: Date.now() / 1000, reason: "" };
    this.self = "";
    /** @type {Status | null} */
    this.status = null;
    /** @type {Peer[]} */
    this.peers = [];
    /** Entries that each node applied, a second. @type {Map<string, number>} */
    this.applying = new Map();
    /** @type {{"1s": Columns, "10s": Columns}} */
    this.history = { "1s": { t: [] }, "10s": { t: [] } };
    /** Newest last. @type {Happened[]} */
    this.timeline = [];
    /** The node's clock less ours, in seconds. */
    this.offset = 0;
    /** @type {Map<string, {index: number, at: number}>} */
    this._applied = new Map();
    /** @type {{topics: Set<Topic>, listener: () => void}[]} */
    this._listeners = [];
  }

  /** The node's time. */
  now() {
    return Date.now() / 1000 + this.offset;
  }

  /** Runs once at once, then at each change; returns what ends it. @param {Topic[]} topics @param {() => void} listener */
  watch(topics, listener) {
    const entry = { topics: new Set(topics), listener };
    this._listeners.push(entry);
    listener();
    return () => {
      this._listeners = this._listeners.filter((other) => other !== entry);
    };
  }

  /** @param {...Topic} topics */
  _tell(...topics) {
    for (const { topics: watched, listener } of [...this._listeners]) {
      if (topics.some((topic) => watched.has(topic))) listener();
    }
  }

  /** @param {"opening" | "live" | "stale"} state @param {number} since @param {string} reason */
  setLink(state, since, reason = "") {
    if (state === this.link.state && reason === this.link.reason) return;
    this.link = { state, since, reason };
    this._tell("link");
  }

  /** @param {string} name @param {any} data */
  take(name, data) {
    if (typeof data.now === "number") this.offset = data.now - Date.now() / 1000;
    if (name === "snapshot") this._snapshot(data);
    else if (name === "status") this._status(data.status);
    else if (name === "peers") this._peers(data);
    else if (name === "sample") this._sample(data);
    else if (name === "happened") this._happened(data);
  }

  /** @param {any} data */
  _snapshot(data) {
    this.self = data.self;
    this.status = data.status;
    this.timeline = data.timeline.slice(-TIMELINE_MAX);
    this.history = data.history;
    this._applied.clear();
    this.applying.clear();
    // The others are asked only while somebody looks, so the first news of them may be old, or none: that is no alarm yet.
    this._peers({ ...data, peers: data.peers.map((/** @type {Peer} */ peer) => ({ ...peer, asking: !peer.answers })) }, true);
    this._tell("status", "peers", "samples", "timeline");
  }

  /** @param {Status} status */
  _status(status) {
    this.status = status;
    this._tell("status");
  }

  /** @param {any} data @param {boolean} [quiet] */
  _peers(data, quiet = false) {
    this.peers = data.peers;
    for (const peer of this.peers) {
      const index = peer.answers && peer.status ? peer.status.applied_index : null;
      const before = this._applied.get(peer.id);
      if (index === null) {
        this._applied.delete(peer.id);
        this.applying.delete(peer.id);
        continue;
      }
      if (before && data.now > before.at) this.applying.set(peer.id, Math.max(0, (index - before.index) / (data.now - before.at)));
      this._applied.set(peer.id, { index, at: data.now });
    }
    if (!quiet) this._tell("peers");
  }

  /** @param {Record<string, number | null>} sample */
  _sample(sample) {
    appendRow(this.history["1s"], sample, SPANS["1s"].points);
    const coarse = this.history["10s"];
    const end = coarse.t.length ? Number(coarse.t[coarse.t.length - 1]) : 0;
    if (Number(sample.t) - end >= SPANS["10s"].step) appendRow(coarse, condensed(this.history["1s"], end), SPANS["10s"].points);
    this._tell("samples");
  }

  /** @param {Happened} happened */
  _happened(happened) {
    if (this.timeline.some((other) => other.id === happened.id)) return;
    this.timeline = [...this.timeline, happened].slice(-TIMELINE_MAX);
    this._tell("timeline");
  }
}

/** @param {Columns} columns @param {Record<string, number | null>} row @param {number} most */
function appendRow(columns, row, most) {
  const length = columns.t.length;
  for (const name of Object.keys(row)) {
    const column = (columns[name] ??= new Array(length).fill(null));
    column.push(row[name]);
    if (column.length > most) column.splice(0, column.length - most);
  }
}

/**
 * What came after a moment, as one row.
 * @param {Columns} columns
 * @param {number} after
 * @returns {Record<string, number | null>}
 */
function condensed(columns, after) {
  const from = columns.t.findIndex((moment) => Number(moment) > after);
  /** @type {Record<string, number | null>} */
  const row = {};
  for (const [name, column] of Object.entries(columns)) row[name] = together(name, column.slice(from));
  row.t = columns.t[columns.t.length - 1];
  return row;
}

/**
 * Several samples of one field as one: the mean of rates, else the largest, since that is what hurts.
 * @param {string} name
 * @param {(number | null)[]} values
 */
export function together(name, values) {
  const known = /** @type {number[]} */ (values.filter((value) => value !== null && value !== undefined));
  if (!known.length) return null;
  if (MEANS.has(name)) return known.reduce((sum, value) => sum + value, 0) / known.length;
  return known.reduce((largest, value) => Math.max(largest, value), -Infinity);
}

export const store = new Store();
