// @ts-check
/** Databases, their tables, and a table's rows: which of them, the address says. */
import { fill } from "../dom.js";
import { openDatabases } from "./databases.js";
import { openRows } from "./rows.js";

/** @type {import("../router.js").Opener} */
export function openData(main, start) {
  let key = "";
  /** @type {import("../router.js").View | null} */
  let open = null;
  const update = (/** @type {import("../router.js").Route} */ route) => {
    const next = JSON.stringify(route.path.slice(0, 2));
    if (open && key === next) {
      open.update(route);
      return;
    }
    open?.close();
    fill(main);
    key = next;
    open = (route.path.length > 1 ? openRows : openDatabases)(main, route);
  };
  update(start);
  return { update, close: () => open?.close() };
}
