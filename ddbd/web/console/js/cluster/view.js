// @ts-check
/** The cluster as it is now: a picture, the nodes in numbers, and what happened. */
import { curlButton } from "../copy.js";
import { h, setText } from "../dom.js";
import { listed, plural } from "../format.js";
import { store } from "../store.js";
import { leaderId, quorum } from "./judge.js";
import { lead } from "./lead.js";
import { makePicture } from "./picture.js";
import { makeNodes } from "./nodes.js";
import { makeTimeline } from "./timeline.js";

/** @type {import("../router.js").Opener} */
export function openCluster(main) {
  const said = h("p", {}, "Waiting for this node to tell what it knows.");
  const picture = makePicture();
  const nodes = makeNodes((id) => lead(store, id));
  const timeline = makeTimeline();
  const nodesHead = h("h2", { tabindex: "-1" }, "Nodes");
  // Each event is a stop of the tab key, and there may be hundreds.
  const skip = h("button", { type: "button", class: "skip", on: { click: () => nodesHead.focus() } }, "Skip to the nodes");
  main.append(
    h(
      "div",
      { class: "head" },
      h("div", { class: "head-text" }, h("h1", {}, "Cluster"), said),
      h("div", { class: "buttons" }, curlButton(() => ({ path: "/status" }), "Copy status as curl")),
    ),
    h("div", { class: "cluster-top" }, picture.element, skip, timeline.element),
    h("div", { class: "section-head" }, nodesHead, h("span", { class: "muted" }, "as this node sees them, once a second")),
    nodes.element,
  );
  const stops = [
    store.watch(["status", "peers"], () => {
      if (!store.status) return;
      setText(said, summary());
      picture.update(store);
      nodes.update(store);
    }),
    store.watch(["timeline"], () => timeline.update(store)),
  ];
  const ticking = setInterval(() => nodes.tick(store), 1000);
  return {
    update: () => undefined,
    close: () => {
      clearInterval(ticking);
      picture.close();
      for (const stop of stops) stop();
    },
  };
}

function summary() {
  const { peers, status } = store;
  if (!status) return "";
  const leader = leaderId(peers);
  const { needed } = quorum(status, peers);
  const away = peers.filter((peer) => !peer.answers && !peer.asking).map((peer) => peer.id);
  const who = leader ? `node ${leader} leads in term ${status.term}` : "nobody leads";
  const rest = away.length ? `node ${listed(away)} ${away.length > 1 ? "do" : "does"} not answer` : "all answer";
  return `${plural(peers.length, "node")}, ${rest}; ${who}. A write needs ${needed} disks.`;
}
