// @ts-check
/** JSON as text, which keeps what numbers of JavaScript do not: 9007199254740993, 1.0, 1e400. Pure. */

/** The text of the `event` of a dead letter, its last field. Null where there is none.
 * @param {string} letter what `/api/dead-letters/{name}` answers */
export function eventText(letter) {
  // within a text every quote has a backslash before it, so the first of these is the field
  const start = letter.indexOf(',"event":');
  return start < 0 ? null : letter.slice(start + 9, letter.lastIndexOf("}"));
}

/** Valid JSON, laid out in lines; not a digit of it is changed. @param {string} text */
export function indented(text) {
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  return tokens.map((token, index) => {
    const isEmpty = (token === "}" && tokens[index - 1] === "{") || (token === "]" && tokens[index - 1] === "[");
    if (token === "}" || token === "]") {
      depth -= 1;
      return isEmpty ? token : line() + token;
    }
    if (token === "{" || token === "[") {
      depth += 1;
      return tokens[index + 1] === "}" || tokens[index + 1] === "]" ? token : token + line();
    }
    return token === "," ? token + line() : token === ":" ? ": " : token;
  }).join("");
}

/** Why a text cannot be sent as an event; null where it can. @param {string} text */
export function eventProblem(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? null : "An event is one JSON object: { … }.";
  } catch (error) {
    return `This is not JSON yet: ${error instanceof Error ? error.message : error}`;
  }
}
