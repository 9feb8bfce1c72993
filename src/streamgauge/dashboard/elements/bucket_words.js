// @ts-check
/** A bucket as it is named in tables and aloud. @param {import("../state.js").Store} store @param {number | undefined} second */
export function bucketWords(store, second) {
  if (second === undefined) return "";
  const words = store.times.value.bucket(second * 1000, store.state.value?.range.step_ms ?? 1000, Date.now());
  return second === store.openSince.value ? `${words}, still filling` : words;
}
