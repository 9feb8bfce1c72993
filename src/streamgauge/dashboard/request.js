// @ts-check
/** Questions to the server's API, relative to the page, so that they work below a path too. */

/** @param {string} path @param {RequestInit} [how] @returns {Promise<string>} the answer's text
 * Rejects with an Error that says in words why there is none. */
export async function ask(path, how) {
  const answer = await fetch(new URL(path, document.baseURI), how).catch((error) => {
    throw how?.signal?.aborted ? error : new Error("The server does not answer.");
  });
  const text = await answer.text();
  if (answer.ok) return text;
  throw new Error(detailOf(text) ?? `The server answered ${answer.status}.`);
}

/** @param {string} path @param {string} body JSON @returns {Promise<any>} */
export async function send(path, body) {
  return JSON.parse(await ask(path, { method: "POST", body, headers: { "content-type": "application/json" } }));
}

/** What a problem says (RFC 9457), if it is one. @param {string} text @returns {string | null} */
function detailOf(text) {
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === "string" ? detail : null;
  } catch {
    return null;
  }
}
