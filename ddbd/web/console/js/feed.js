// @ts-check
/**
 * The stream of events of this node (`/console/feed`), kept open as long as somebody looks. The browser repeats a broken connection by
 * itself; where it gives up (an answer that is no stream), and where a stream stays open but silent (a frozen node, a laptop that slept),
 * we do. Every second something comes, so silence means that what is shown is old, and the page says so.
 *
 * A tab that is hidden lets go after a while: browsers keep six connections to a host, and a forgotten tab should not hold one.
 */

const NAMES = ["snapshot", "status", "peers", "sample", "happened"];
const SILENT_SECONDS = 4;
const DEAD_SECONDS = 15;
const AGAIN_SECONDS = 2;
const HIDDEN_SECONDS = 30;

/** @param {import("./store.js").Store} store @param {string} address */
export function startFeed(store, address) {
  /** @type {EventSource | null} */
  let source = null;
  let heard = Date.now() / 1000;
  let opened = heard;
  let hiddenSince = document.hidden ? heard : 0; // a tab may be opened behind another one

  const open = () => {
    source?.close();
    opened = Date.now() / 1000;
    source = new EventSource(address);
    for (const name of NAMES) source.addEventListener(name, (event) => took(name, /** @type {MessageEvent} */ (event)));
    source.addEventListener("error", () => lost());
  };
  const took = (/** @type {string} */ name, /** @type {MessageEvent} */ event) => {
    heard = Date.now() / 1000;
    store.take(name, JSON.parse(event.data));
    store.setLink("live", heard);
  };
  const lost = () => store.setLink("stale", heard, "the connection to this node broke");

  const look = () => {
    const now = Date.now() / 1000;
    if (document.hidden) {
      if (source && hiddenSince && now - hiddenSince > HIDDEN_SECONDS) {
        source.close();
        source = null;
      }
      return;
    }
    if (now - Math.max(heard, opened) > SILENT_SECONDS && store.link.state !== "stale") {
      store.setLink("stale", heard, "this node is silent");
    }
    const isClosed = !source || source.readyState === EventSource.CLOSED;
    if (now - opened > (isClosed ? AGAIN_SECONDS : DEAD_SECONDS) && (isClosed || now - heard > DEAD_SECONDS)) open();
  };

  document.addEventListener("visibilitychange", () => {
    hiddenSince = document.hidden ? Date.now() / 1000 : 0;
    if (!document.hidden && !source) open();
  });
  setInterval(look, 1000);
  open();
}
