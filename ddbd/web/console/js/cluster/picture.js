// @ts-check
/**
 * The nodes on a circle, and the streams between them: entries flow from the leader to the others, as dots that run faster where more
 * entries go. Each node keeps its place whoever leads. Who wants no motion sees arrows and rates alone.
 */
import { fill, h, s, setAttribute, setText } from "../dom.js";
import { listed, rate, whole } from "../format.js";
import { lag, leaderId, stateOf } from "./judge.js";

/** @typedef {import("../store.js").Store} Store */
/** @typedef {import("../store.js").Peer} Peer */

const WIDTH = 480;
const HEIGHT = 340;
const NODE = 30;
const DOTS_APART = 20;
const ID_CHARS = 6;

export function makePicture() {
  const lines = s("g");
  const nodes = s("g");
  const arrow = s("marker", { id: "arrow", viewBox: "0 0 10 10", refX: 8, refY: 5, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" });
  arrow.append(s("path", { d: "M1 1 9 5 1 9z", class: "arrow" }));
  const drawing = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "The cluster" }, s("defs", {}, arrow), lines, nodes);
  const element = h("figure", { class: "panel picture" }, drawing, h("figcaption", { class: "legend small muted" }, legend()));
  /** @type {Map<string, ReturnType<typeof makeNode>>} */
  let drawn = new Map();
  /** @type {Map<string, ReturnType<typeof makeStream>>} */
  let streams = new Map();

  const build = (/** @type {Peer[]} */ peers) => {
    for (const stream of streams.values()) stream.close();
    fill(lines);
    fill(nodes);
    const places = placed(peers.length);
    drawn = new Map(peers.map((peer, at) => [peer.id, makeNode(peer, places[at])]));
    streams = new Map(peers.slice(1).flatMap((peer, at) => peers.slice(0, at + 1).map((other) => [pair(peer.id, other.id), makeStream()])));
    lines.append(...[...streams.values()].map((stream) => stream.element));
    nodes.append(...[...drawn.values()].map((node) => node.element));
  };

  /** @param {Store} store */
  const update = (store) => {
    const { peers } = store;
    if ([...drawn.keys()].join() !== peers.map((peer) => peer.id).join()) build(peers);
    const leader = leaderId(peers);
    for (const peer of peers) drawn.get(peer.id)?.update(peer, stateOf(peer, leader), lag(peer, peers, leader));
    for (const one of peers) {
      for (const other of peers) {
        const stream = streams.get(`${one.id}/${other.id}`);
        if (!stream) continue;
        const leads = other.id === leader || one.id === leader;
        const from = other.id === leader ? other : one;
        const to = from === other ? one : other;
        const a = /** @type {any} */ (drawn.get(from.id)).place;
        const b = /** @type {any} */ (drawn.get(to.id)).place;
        stream.update(a, b, isAway(from) || isAway(to) ? "down" : leads ? "flow" : "idle", leads ? store.applying.get(to.id) ?? null : null);
      }
    }
    setAttribute(drawing, "aria-label", described(peers, leader));
  };
  return { element, update, close: () => streams.forEach((stream) => stream.close()) };
}

/** @param {Peer} peer */
function isAway(peer) {
  return !peer.answers && !peer.asking;
}

/** @param {string} a @param {string} b */
function pair(a, b) {
  return `${a}/${b}`;
}

/** @param {number} count @returns {{x: number, y: number}[]} */
function placed(count) {
  const middle = { x: WIDTH / 2, y: count === 3 ? 198 : HEIGHT / 2 };
  if (count === 1) return [middle];
  const reach = count === 3 ? { x: 172, y: 128 } : { x: 170, y: 118 };
  return Array.from({ length: count }, (_, at) => {
    const turn = (at / count) * 2 * Math.PI - Math.PI / 2;
    return { x: middle.x + reach.x * Math.cos(turn), y: middle.y + reach.y * Math.sin(turn) };
  });
}

/** @param {Peer} peer @param {{x: number, y: number}} place */
function makeNode(peer, place) {
  const label = peer.id.length > ID_CHARS ? `${peer.id.slice(0, ID_CHARS - 1)}…` : peer.id;
  // Words stand on the side where no stream runs.
  const isAbove = place.y < HEIGHT / 2 - 10;
  const word = s("text", { class: "node-word", y: isAbove ? -NODE - 13 : NODE + 21 });
  const behind = s("text", { class: "node-behind", y: isAbove ? -NODE - 29 : NODE + 37 });
  const halo = s("circle", { class: "halo", r: NODE + 6 });
  const circle = s("circle", { class: "node", r: NODE });
  const text = s("text", { class: `node-id ${label.length > 3 ? "long" : ""}`, dy: "0.36em" }, label);
  const element = s("g", { transform: `translate(${place.x} ${place.y})` }, s("title", {}, `Node ${peer.id}, ${peer.address}`), halo, circle, text, word, behind);

  /** @param {Peer} now @param {{word: string, tone: string}} state @param {number | null} entries */
  const update = (now, state, entries) => {
    setAttribute(element, "class", `at ${state.tone} ${state.word === "leader" ? "leads" : ""} ${isAway(now) ? "away" : ""}`);
    setText(word, state.word);
    setText(behind, now.answers && entries ? `${whole(entries)} behind` : "");
  };
  return { element, place, update };
}

function makeStream() {
  const line = s("line", { class: "stream" });
  const dots = s("line", { class: "dots", "stroke-dasharray": `0.1 ${DOTS_APART}` });
  const label = s("text", { class: "stream-rate" });
  const element = s("g", {}, line, dots, label);
  const wantsNoMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const motion = wantsNoMotion ? null : dots.animate([{ strokeDashoffset: DOTS_APART }, { strokeDashoffset: 0 }], { duration: 1000, iterations: Infinity });
  motion?.pause();

  /** @param {{x: number, y: number}} from @param {{x: number, y: number}} to @param {"down" | "flow" | "idle"} kind @param {number | null} entries a second */
  const update = (from, to, kind, entries) => {
    const whole = Math.hypot(to.x - from.x, to.y - from.y) || 1;
    const part = (/** @type {number} */ gap) => gap / whole;
    const start = between(from, to, part(NODE + 12));
    const end = between(from, to, 1 - part(NODE + 14));
    for (const each of [line, dots]) {
      for (const [name, value] of Object.entries({ x1: start.x, y1: start.y, x2: end.x, y2: end.y })) setAttribute(each, name, value.toFixed(1));
    }
    setAttribute(line, "class", `stream ${kind}`);
    setAttribute(line, "marker-end", kind === "flow" ? "url(#arrow)" : null);
    const middle = between(from, to, 0.5);
    setAttribute(label, "x", middle.x.toFixed(1));
    setAttribute(label, "y", (middle.y + 4).toFixed(1));
    const flows = kind === "flow" && entries !== null && entries > 0.05;
    setText(label, kind === "flow" && entries !== null ? `${rate(entries)}/s` : "");
    setAttribute(dots, "class", `dots ${flows && !wantsNoMotion ? "on" : ""}`);
    if (!motion) return;
    if (flows) motion.updatePlaybackRate(0.35 + 0.75 * Math.log10(1 + entries));
    if (flows && motion.playState !== "running") motion.play();
    if (!flows && motion.playState === "running") motion.pause();
  };
  return { element, update, close: () => motion?.cancel() };
}

/** @param {{x: number, y: number}} from @param {{x: number, y: number}} to @param {number} part */
function between(from, to, part) {
  return { x: from.x + (to.x - from.x) * part, y: from.y + (to.y - from.y) * part };
}

function legend() {
  return [
    h("span", {}, h("i", { class: "key flow" }), "entries, a second"),
    h("span", {}, h("i", { class: "key idle" }), "in touch"),
    h("span", {}, h("i", { class: "key down" }), "no answer"),
  ];
}

/** The picture in a sentence. @param {Peer[]} peers @param {string | null} leader */
function described(peers, leader) {
  const answering = peers.filter((peer) => peer.answers && peer.id !== leader).map((peer) => peer.id);
  const away = peers.filter(isAway).map((peer) => peer.id);
  const flow = leader ? `Node ${leader} leads` + (answering.length ? `, entries flow from it to node ${listed(answering)}` : "") : "Nobody leads";
  return `${flow}.${away.length ? ` No answer from node ${listed(away)}.` : ""}`;
}
