// @ts-check
/** Which page the address names, behind its `#`; the query string before it belongs to the overview. Pure.
 *
 * @typedef {"overview" | "sources" | "dead-letters"} PageName
 * @typedef {{page: PageName, letter: string | null}} Place  letter: the dead letter that is open
 */

/** @type {readonly {name: PageName, title: string, href: string, key: string}[]} */
export const PAGES = Object.freeze([
  { name: "overview", title: "Overview", href: "#/", key: "o" },
  { name: "sources", title: "Sources", href: "#/sources", key: "s" },
  { name: "dead-letters", title: "Dead letters", href: "#/dead-letters", key: "d" },
]);

/** The overview where the address names no page that there is. @param {string} hash with its `#` @returns {Place} */
export function parsePlace(hash) {
  const [name, letter] = hash.replace(/^#\/?/, "").split("/");
  const page = PAGES.find((one) => one.name === name)?.name ?? "overview";
  return { page, letter: page === "dead-letters" && letter ? letter : null };
}

/** @param {Place} place */
export function printPlace({ page, letter }) {
  return page === "overview" ? "" : `#/${page}${letter === null ? "" : `/${letter}`}`;
}

/** @param {PageName} name @returns {string} */
export function titleOf(name) {
  return PAGES.find((one) => one.name === name)?.title ?? "";
}
