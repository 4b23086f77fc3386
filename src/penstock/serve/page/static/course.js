// Tags' courses in memory: what /v1/series gave, lengthened by what comes live.

import { inTurn, series } from "./api.js";
import { now } from "./words.js";

export const SPARK_MS = 15 * 60 * 1000;
export const SPARK_BIN_MS = SPARK_MS / 90;
const USUAL_MS = 24 * 3600 * 1000;
const USUAL_POINTS = 96;
const RENEW_MS = 300000;
const RETRY_MS = 60000;

const USUAL_LEAST = 12;
const USUAL_SPAN_MIN_MS = 8 * 60 * 1000;

/** The last minutes and the usual range of each tag that someone looks at. Event: `course` (path). */
export class Courses extends EventTarget {
  #held = new Map();

  constructor(plant) {
    super();
    plant.addEventListener("readings", (event) =>
      event.detail.forEach((path) => this.#lengthen(path, plant.latest.get(path))),
    );
  }

  /** {spark, usual} as far as it is known; usual is {low, high} or null. */
  of(path) {
    return this.#held.get(path);
  }

  /** Asks the plant, unless it did so lately; `stillWanted` is asked when its turn comes. */
  async want(path, stillWanted = () => true) {
    const course = this.#held.get(path) ?? { spark: emptySeries(), usual: null, at: 0 };
    if (now() - course.at < RENEW_MS) return;
    this.#held.set(path, Object.assign(course, { at: now() }));
    await inTurn(async () => (stillWanted() ? this.#load(path, course) : this.#forget(course))).catch(() =>
      this.#forget(course, RENEW_MS - RETRY_MS),
    );
  }

  /** Lets the plant be asked again once a course of this age would be: at once, unless told otherwise. */
  #forget(course, age = RENEW_MS) {
    course.at = now() - age;
  }

  async #load(path, course) {
    const end = now();
    const [spark, day] = await Promise.all([
      series(path, end - SPARK_MS, end + 1, SPARK_MS / SPARK_BIN_MS),
      series(path, end - USUAL_MS, end + 1, USUAL_POINTS),
    ]);
    Object.assign(course, { spark, usual: usualOf(day) ?? usualOf(spark) });
    if (!course.usual) this.#forget(course, RENEW_MS - RETRY_MS);
    this.dispatchEvent(new CustomEvent("course", { detail: path }));
  }

  #lengthen(path, reading) {
    const course = this.#held.get(path);
    if (course) append(course.spark, reading, SPARK_BIN_MS, SPARK_MS);
  }
}

export const emptySeries = () => ({ t: [], lo: [], hi: [], last: [], text: [], wide: [] });

/** Adds a live reading to a series: into its last bin when it belongs there, and what is too old goes. */
export function append(series, reading, binMs, keepMs) {
  const end = series.t.length - 1;
  if (end >= 0 && reading.ms <= series.t[end]) return;
  const [value, word] = [reading.quality === "bad" ? null : (reading.value ?? null), reading.state ?? null];
  if (end > 0 && value != null && reading.ms - series.t[end - 1] < binMs) widen(series, end, reading.ms, value);
  else push(series, reading.ms, value, word);
  while (series.t.length > 1 && series.t[1] < reading.ms - keepMs)
    for (const column of Object.values(series)) column.shift();
}

function widen(series, end, ms, value) {
  series.t[end] = ms;
  series.lo[end] = Math.min(series.lo[end] ?? value, value);
  series.hi[end] = Math.max(series.hi[end] ?? value, value);
  series.last[end] = value;
}

function push(series, ms, value, word) {
  series.t.push(ms);
  series.lo.push(value);
  series.hi.push(value);
  series.last.push(value);
  series.text.push(word);
  series.wide.push(0);
}

/** The pause that is a gap: five intervals configured, or as the series goes; never less than its bins. */
export function gapOf(series, binMs, intervalMs) {
  if (series.text.some((word) => word != null)) return Infinity;
  const steps = series.t
    .slice(1)
    .map((ms, i) => ms - series.t[i])
    .sort((a, b) => a - b);
  return Math.max(2.5 * binMs, 5 * (intervalMs ?? steps[steps.length >> 1] ?? binMs));
}

/** Between the tenth part of lows and of highs of a series; null while it is short. */
function usualOf({ t, lo, hi }) {
  const sorted = (column) => column.filter((value) => value != null).sort((a, b) => a - b);
  const [lows, highs] = [sorted(lo), sorted(hi)];
  if (lows.length < USUAL_LEAST || t.at(-1) - t[0] < USUAL_SPAN_MIN_MS) return null;
  return { low: lows[Math.floor(lows.length * 0.1)], high: highs[Math.ceil(highs.length * 0.9) - 1] };
}
