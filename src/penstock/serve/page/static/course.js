// A tag's course in memory: what /v1/series gave, lengthened by what comes live.

const USUAL_LEAST = 8;

export const emptySeries = () => ({ t: [], lo: [], hi: [], last: [], text: [] });

/** Adds a live reading to a series: into its last bin when it belongs there, and what is too old goes. */
export function append(series, reading, binMs, keepMs) {
  const end = series.t.length - 1;
  if (end >= 0 && reading.ms <= series.t[end]) return;
  const [value, word] = [reading.quality === "bad" ? null : reading.value ?? null, reading.state ?? null];
  if (end > 0 && value != null && reading.ms - series.t[end - 1] < binMs) widen(series, end, reading.ms, value);
  else push(series, reading.ms, value, word);
  while (series.t.length > 1 && series.t[1] < reading.ms - keepMs) for (const column of Object.values(series)) column.shift();
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
}

/** The pause that is a gap: five intervals as configured, or as the series itself goes, but never less than its bins. */
export function gapOf(series, binMs, intervalMs) {
  if (series.text.some((word) => word != null)) return Infinity;
  const steps = series.t.slice(1).map((ms, i) => ms - series.t[i]).sort((a, b) => a - b);
  return Math.max(2.5 * binMs, 5 * (intervalMs ?? steps[steps.length >> 1] ?? binMs));
}

/** Where nine tenths of the last day's bins stayed; null while there is too little to say. */
export function usualOf({ lo, hi }) {
  const sorted = (column) => column.filter((value) => value != null).sort((a, b) => a - b);
  const [lows, highs] = [sorted(lo), sorted(hi)];
  if (lows.length < USUAL_LEAST) return null;
  return { low: lows[Math.floor(lows.length * 0.1)], high: highs[Math.ceil(highs.length * 0.9) - 1] };
}
