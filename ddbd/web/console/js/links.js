// @ts-check
/** Addresses of the other nodes' consoles, from what the config says of them. */

/** @param {string} address as in localhost:8080 @param {string} [hash] */
export function nodeUrl(address, hash = "") {
  try {
    const url = new URL(`${location.protocol}//${address}/console/`);
    return url.href + hash;
  } catch {
    return null; // no address that a browser knows: then there is no link
  }
}
