// Where values and moments fall on paper, and the round ones worth a label.

import { at, zoneOffset } from "./words.js";

const S = 1000,
  M = 60 * S,
  H = 60 * M,
  D = 24 * H;
const STEPS_MS = [
  S,
  2 * S,
  5 * S,
  10 * S,
  15 * S,
  30 * S,
  M,
  2 * M,
  5 * M,
  10 * M,
  15 * M,
  30 * M,
  H,
  2 * H,
  3 * H,
  6 * H,
  12 * H,
  D,
  2 * D,
  7 * D,
];

/** A straight mapping from [a, b] to [p, q]. */
export const linear = (a, b, p, q) => (x) => p + ((x - a) / (b - a || 1)) * (q - p);

/** About `wanted` round numbers within [low, high], with the decimals that all of them need: {values, decimals}. */
export function ticks(low, high, wanted = 4) {
  const rough = (high - low) / wanted;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = size * ([1, 2, 5].find((factor) => factor * size >= rough) ?? 10);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high + step * 1e-9; n++) found.push(n * step);
  return { values: found, decimals: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/** Round moments of the plant's own clock, at least `apart` px from each other: [{ms, label, day}]. */
export function timeTicks(from, to, width, apart = 86) {
  const rough = ((to - from) * apart) / width;
  const step = STEPS_MS.find((ms) => ms >= rough) ?? STEPS_MS.at(-1);
  const shift = zoneOffset(to);
  const found = [];
  for (let ms = Math.ceil((from + shift) / step) * step - shift; ms <= to; ms += step)
    found.push(tick(ms, step, shift));
  return found;
}

function tick(ms, step, shift) {
  const midnight = (ms + shift) % D === 0;
  return { ms, day: midnight, label: midnight ? at(ms, "day") : at(ms, step < M ? "time" : "minute") };
}

/** [low, high] around everything that should show, with air; never empty. */
export function extent(values, air = 0.08) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value == null || Number.isNaN(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  const margin = (high - low || Math.abs(high) * 0.1 || 1) * air;
  return [low - margin, high + margin];
}

/** The index of the last moment at or before `ms` in sorted `times`; -1 when there is none. */
export function indexAt(times, ms) {
  let [low, high] = [-1, times.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle] <= ms) low = middle;
    else high = middle - 1;
  }
  return low;
}
