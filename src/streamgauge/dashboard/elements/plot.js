// @ts-check
/** The canvas of a chart inside the page: made again when its looks change, fed when its data does, read by keys. */
import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { TimeChart } from "../chart.js";
import { html } from "../html.js";

/**
 * @typedef {{index: number, height: number | null}} Place  a bucket, and how high the pointer is on the vertical scale
 * @typedef {object} PlotProps
 * @property {import("../state.js").Store} store
 * @property {any} actions
 * @property {string} title
 * @property {string} looks  the chart is made again when this changes
 * @property {Omit<import("../chart_options.js").ChartOptions, "times" | "onZoom" | "onCursor">} options
 * @property {any[]} columns
 * @property {unknown} [painted]
 * @property {import("@preact/signals").Signal<Place | null>} cursor
 * @property {(place: Place) => string} describe  what a screen reader says of a place
 */

/** Buckets, bands. @type {Readonly<Record<string, [number, number]>>} */
const STEPS = Object.freeze({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1], Enter: [0, 0] });

/** @param {PlotProps} props */
export function Plot({ store, actions, title, looks, options, columns, painted, cursor, describe }) {
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const chart = useRef(/** @type {TimeChart | null} */ (null));
  const said = useSignal("");
  const byKeys = useRef(false);
  const times = store.times.value;

  // before the picture is painted: a frame later there would be a frame without charts
  useLayoutEffect(() => {
    const made = new TimeChart(/** @type {HTMLElement} */ (host.current), {
      ...options, times,
      onZoom: (from, to) => actions.go({ choice: { from, to } }),
      onCursor: (index, height) => {
        const before = cursor.value;
        if (before?.index === index && before?.height === height) return;
        cursor.value = index === null ? null : { index, height };
      },
    });
    chart.current = made;
    return () => {
      chart.current = null;
      cursor.value = null;
      made.destroy();
    };
  }, [looks, times, store.colours.value]);
  useLayoutEffect(() => {
    chart.current?.draw(columns, painted);
    chart.current?.markGap(store.gap.value);
    chart.current?.markOpen(store.openSince.value);
  });
  useEffect(() => () => store.release("chart"), []);

  /** @param {KeyboardEvent} event */
  const pressed = (event) => {
    const step = STEPS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (step === undefined && event.key !== "Escape")) return;
    // Esc takes away a cursor that keys have set; otherwise it is the page's
    if (step === undefined && !byKeys.current) return;
    // the page would move the range
    event.stopPropagation();
    event.preventDefault();
    byKeys.current = step !== undefined;
    if (step === undefined) return chart.current?.dropCursor();
    chart.current?.moveCursor(...step);
    if (cursor.value !== null) said.value = describe(cursor.value);
  };
  /** @param {PointerEvent} event a finger leaves no pointer behind that could be taken away again */
  const entered = (event) => {
    byKeys.current = false;
    if (event.pointerType === "mouse") store.hold("chart");
  };
  return html`
    <div class="plot" ref=${host} tabindex="0" role="application" aria-roledescription="chart" onKeyDown=${pressed}
      onPointerEnter=${entered} onPointerLeave=${() => store.release("chart")}
      aria-label="${title}: chart; arrow keys move the cursor, t shows a table"></div>
    <p class="unseen" role="status">${said}</p>`;
}
