// @ts-check
/**
 * What changes one state of the page into the next. Pure, and the twin of what the server does when it
 * makes a patch; both are held to the same vectors. Nothing here knows what the state means.
 */

/** A patch that does not fit the state: the two sides have drifted apart, and only a fresh snapshot helps. */
export class PatchError extends Error {}

/**
 * Apply the operations in order and give the new state; what no operation touches stays the identical object.
 * The given state is never changed. Throws PatchError where a path or an index does not exist.
 *
 *     ["set", path, value]                 creates or replaces the last key of `path`; its parents exist
 *     ["drop", path]                       removes the last key, if it is there
 *     ["slide", path, {drop, set, append}] an array: first drop from the front, then set [index, value]
 *                                          pairs of what is left, then append; what is absent is none
 *
 * @template T
 * @param {T} state
 * @param {import("./types.js").Operation[]} operations
 * @returns {T}
 */
export function applyPatch(state, operations) {
  /** @type {any} */
  let next = state;
  /** Copies made by this patch: nobody else has seen them, so they are changed in place. @type {Set<object>} */
  const own = new Set();
  for (const operation of operations) next = applyAt(next, operation[1], 0, operation, own);
  return next;
}

/** @param {any} node @param {string[]} path @param {number} depth @param {any} operation @param {Set<object>} own
 * @returns {any} */
function applyAt(node, path, depth, operation, own) {
  if (depth === path.length) return replaced(node, operation);
  const key = path[depth];
  const last = depth === path.length - 1;
  if (node === null || typeof node !== "object" || Array.isArray(node)) {
    throw new PatchError(`${path.slice(0, depth).join(".") || "(root)"}: not an object, so it has no "${key}"`);
  }
  const present = Object.hasOwn(node, key);
  if (operation[0] === "drop" && last) return present ? without(node, key, own) : node;
  if (!present && !(operation[0] === "set" && last)) {
    throw new PatchError(`${path.slice(0, depth + 1).join(".")}: does not exist`);
  }
  const before = present ? node[key] : undefined;
  const after = applyAt(before, path, depth + 1, operation, own);
  return present && after === before ? node : withKey(node, key, after, own);
}

/** @param {any} node @param {any} operation */
function replaced(node, operation) {
  if (operation[0] === "set") return operation[2];
  if (operation[0] === "slide") return slid(node, operation[2], operation[1]);
  throw new PatchError(`unknown operation "${operation[0]}" on ${operation[1].join(".") || "(root)"}`);
}

/** @param {any} array @param {import("./types.js").Slide} slide @param {string[]} path */
function slid(array, slide, path) {
  if (!Array.isArray(array)) throw new PatchError(`${path.join(".")}: not an array, so it cannot slide`);
  const next = array.slice(slide.drop ?? 0);
  for (const [index, value] of slide.set ?? []) {
    if (!(index >= 0 && index < next.length)) {
      throw new PatchError(`${path.join(".")}: no index ${index} among ${next.length}`);
    }
    next[index] = value;
  }
  return next.concat(slide.append ?? []);
}

/** @param {any} node @param {Set<object>} own */
function copied(node, own) {
  if (own.has(node)) return node;
  const copy = { ...node };
  own.add(copy);
  return copy;
}

/** @param {any} node @param {string} key @param {any} value @param {Set<object>} own */
function withKey(node, key, value, own) {
  const copy = copied(node, own);
  // keys are event types, chosen by senders: plain assignment to "__proto__" would change the prototype
  Object.defineProperty(copy, key, { value, configurable: true, enumerable: true, writable: true });
  return copy;
}

/** @param {any} node @param {string} key @param {Set<object>} own */
function without(node, key, own) {
  const copy = copied(node, own);
  delete copy[key];
  return copy;
}
