// @ts-check
/** Small choices that stay in this browser. */

/** @param {string} name @returns {string | null} null where nothing is kept */
export function kept(name) {
  try {
    return localStorage.getItem(`streamgauge.${name}`);
  } catch (error) {
    // storage can be forbidden; the page then starts from its defaults
    console.info(`${name} is not kept:`, error);
    return null;
  }
}

/** @param {string} name @param {string} value */
export function keep(name, value) {
  try {
    localStorage.setItem(`streamgauge.${name}`, value);
  } catch (error) {
    console.info(`${name} is not kept:`, error);
  }
}
