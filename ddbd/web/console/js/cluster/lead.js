// @ts-check
/** Handing leadership over: asked first, with what will happen, then done by whichever node leads. */
import { post, text } from "../api.js";
import { curlButton } from "../copy.js";
import { ask, toast } from "../dialogs.js";
import { h } from "../dom.js";
import { leaderId } from "./judge.js";

const HELD = "Writes that arrive meanwhile are held, not refused; it takes well under a second as a rule.";

/** To the node `to`, or away from it where it leads. @param {import("../store.js").Store} store @param {string} to */
export function lead(store, to) {
  const leader = leaderId(store.peers);
  const isStepDown = leader === to;
  const request = isStepDown
    ? post("/step_down", "{}", { forward: "true" })
    : post("/transfer", JSON.stringify({ to }), { forward: "true" });
  const act = async () => {
    const answer = JSON.parse(await text(request));
    toast(answer.from === answer.to ? `Node ${answer.to} leads already.` : `Node ${answer.to} leads now, in term ${answer.term}.`);
  };
  const from = leader === null ? "Nobody leads now; this waits for a leader first." : `Node ${leader} leads now, in term ${store.status?.term}.`;
  const next = isStepDown
    ? "It stops taking entries, brings the follower that is furthest up to its own end of the log, and hands over."
    : `It stops taking entries, brings node ${to} up to its own end of the log, and hands over to it.`;
  const preferred = store.peers.find((peer) => peer.status?.nodes.some((node) => node.id === leader && node.is_master)) ? leader : null;
  const back = "The preferred master does not take leadership back by itself after this, until leadership is lost again or an hour has passed.";
  ask({
    title: isStepDown ? `Node ${to} steps down` : `Node ${to} becomes the leader`,
    body: [h("p", {}, `${from} ${next}`), h("p", {}, HELD), preferred && h("p", { class: "muted" }, back)],
    yes: isStepDown ? `Step node ${to} down` : `Let node ${to} lead`,
    start: [curlButton(() => request)],
    act,
  });
}
