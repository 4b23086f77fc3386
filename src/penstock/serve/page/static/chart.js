// A trend on canvas, made for process values: the min/max band, limits as lines, gaps as gaps, anomalies as marks,
// states as grey blocks. One lane a tag; lanes share a time axis. Why our own: ADR 4, the chart library.

import { drawFloor } from "./archive.js";
import { colours, sharp } from "./dom.js";
import { extent, indexAt, linear, ticks, timeTicks } from "./scale.js";
import { number } from "./words.js";

export const GUTTER = 58;
export const EDGE = 44;
const PAD = 7;
const BAR_PX = 3;
const MARK_PX = 5;
const NEAR_PX = 9;
const HATCH_PX = 6;
const USUAL_LABEL_PX = 11;
const LIMITS = [
  ["hh", "HH"],
  ["h", "H"],
  ["l", "L"],
  ["ll", "LL"],
];

/**
 * Draws one lane: `{from, to, series, limits, usual, episodes, gapMs, cursorMs, archivedMs, labelled}`.
 * `series` is {t, lo, hi, last, text, wide} as of api.js; `episodes` are [{ms, untilMs, priority, value, because}].
 */
export function drawLane(canvas, lane) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const pen = sharp(canvas, width, height);
  const x = linear(lane.from, lane.to, GUTTER, width - EDGE);
  const plot = { pen, x, width, height, left: GUTTER, right: width - EDGE, top: PAD, bottom: height - PAD };
  pen.font = `11px ${colours.font}`;
  if (holdsStates(lane.series)) drawStates(plot, lane);
  else drawValues(plot, lane);
  drawEpisodeBars(plot, lane);
  drawFloor(plot, lane);
  drawCursor(plot, lane);
}

const holdsStates = ({ text }) => text.some((word) => word != null);

function drawValues(plot, lane) {
  const [low, high] = range(lane);
  plot.y = linear(low, high, plot.bottom - BAR_PX, plot.top);
  shadeOutside(plot, lane.limits);
  shadeUsual(plot, lane.usual);
  drawGrid(plot, lane, low, high);
  inside(plot, () => {
    const runs = runsOf(lane);
    drawGaps(plot, lane, runs);
    runs.forEach((run) => drawBand(plot, lane.series, run));
    runs.forEach((run) => drawLine(plot, lane.series, run));
    drawEnd(plot, lane);
  });
  drawLimits(plot, lane.limits, low, high);
  for (const episode of lane.episodes) drawMark(plot, episode);
}

/** Whatever was seen, and a limit when it is near enough not to flatten the line. */
function range({ series, limits, from, to }) {
  const first = Math.max(0, indexAt(series.t, from));
  const seen = extent([...series.lo.slice(first), ...series.hi.slice(first)], 0);
  const reach = (seen[1] - seen[0]) * 1.5 || Math.abs(seen[1]) * 0.2 || 1;
  const near = Object.values(limits).filter(
    (limit) => limit != null && limit > seen[0] - reach && limit < seen[1] + reach,
  );
  return to > from ? extent([...seen, ...near]) : seen;
}

function shadeOutside({ pen, y, left, right, top, bottom }, { h, l, hh, ll }) {
  const [upper, lower] = [h ?? hh, l ?? ll];
  pen.fillStyle = colours.outside;
  if (upper != null && y(upper) > top) pen.fillRect(left, top, right - left, y(upper) - top);
  if (lower != null && y(lower) < bottom) pen.fillRect(left, y(lower), right - left, bottom - y(lower));
}

function shadeUsual({ pen, y, left, right, top, bottom }, usual) {
  if (!usual) return;
  const [high, low] = [Math.max(top, y(usual.high)), Math.min(bottom, y(usual.low))];
  if (low <= high) return;
  pen.fillStyle = colours.usual;
  pen.fillRect(left, high, right - left, low - high);
  pen.fillStyle = colours["ink-3"];
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  if (low - high > USUAL_LABEL_PX) pen.fillText("usual", right + 6, (low + high) / 2);
}

function drawGrid({ pen, x, y, left, right, top, bottom, width, height }, lane, low, high) {
  pen.strokeStyle = colours["rule-soft"];
  pen.fillStyle = colours["ink-3"];
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  const { values, decimals } = ticks(low, high, Math.max(2, Math.floor(height / 30)));
  for (const value of values) {
    rule(pen, left, y(value), right, y(value));
    pen.fillText(tidy(value, decimals), left - 9, y(value));
  }
  for (const { ms } of timeTicks(lane.from, lane.to, width - GUTTER - EDGE)) rule(pen, x(ms), top, x(ms), bottom);
}

function tidy(value, decimals) {
  if (Math.abs(value) >= 1e6) return number(value);
  return (decimals === undefined ? String(Number(value.toPrecision(6))) : value.toFixed(decimals)).replace("-", "−");
}

function rule(pen, x0, y0, x1, y1) {
  const crisp = (at) => Math.round(at) + 0.5;
  pen.beginPath();
  pen.moveTo(x0 === x1 ? crisp(x0) : x0, y0 === y1 ? crisp(y0) : y0);
  pen.lineTo(x0 === x1 ? crisp(x1) : x1, y0 === y1 ? crisp(y1) : y1);
  pen.stroke();
}

function inside({ pen, left, right, height }, draw) {
  pen.save();
  pen.beginPath();
  pen.rect(left, 0, right - left + 3, height);
  pen.clip();
  draw();
  pen.restore();
}

/** How long nothing need follow the i-th point: the pause that is a gap, or as long as it takes itself. */
const reach = ({ series, gapMs }, i) => Math.max(gapMs, 2.5 * series.wide[i]);

/** Stretches without a gap, as [first, last] indices. A missing value ends one too. */
export function runsOf(lane) {
  const { series } = lane;
  const runs = [];
  let first = -1;
  for (let i = 0; i < series.t.length; i++) {
    const missing = series.last[i] == null && series.text[i] == null;
    if (first >= 0 && (missing || series.t[i] - series.t[i - 1] > reach(lane, i - 1))) {
      runs.push([first, i - 1]);
      first = -1;
    }
    if (first < 0 && !missing) first = i;
  }
  if (first >= 0) runs.push([first, series.t.length - 1]);
  return runs;
}

function drawGaps(plot, lane, runs) {
  const { t } = lane.series;
  runs.forEach(([, last], i) => {
    const until = i + 1 < runs.length ? t[runs[i + 1][0]] : lane.to;
    if (until - t[last] > reach(lane, last)) hatch(plot, plot.x(endOf(lane.series, last)), plot.x(until));
  });
}

/** Where a point's own time ends: a band of an hour is drawn as long as that. */
const endOf = ({ t, wide }, i) => t[i] + wide[i];

function hatch({ pen, top, bottom }, x0, x1) {
  if (x1 - x0 < 2) return;
  pen.save();
  pen.beginPath();
  pen.rect(x0, top, x1 - x0, bottom - top);
  pen.clip();
  pen.strokeStyle = colours.rule;
  pen.beginPath();
  for (let at = x0 - (bottom - top); at < x1; at += HATCH_PX) {
    pen.moveTo(at, bottom);
    pen.lineTo(at + bottom - top, top);
  }
  pen.stroke();
  pen.restore();
}

function drawBand({ pen, x, y }, series, [first, last]) {
  const { t, lo, hi } = series;
  const end = x(endOf(series, last));
  pen.beginPath();
  for (let i = first; i <= last; i++) pen.lineTo(x(t[i]), y(hi[i]));
  pen.lineTo(end, y(hi[last]));
  pen.lineTo(end, y(lo[last]));
  for (let i = last; i >= first; i--) pen.lineTo(x(t[i]), y(lo[i]));
  pen.globalAlpha = 0.45;
  pen.fillStyle = colours.band;
  pen.fill();
  pen.globalAlpha = 1;
}

function drawLine({ pen, x, y }, series, [first, end]) {
  const { t, last } = series;
  pen.strokeStyle = colours.trace;
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  pen.beginPath();
  for (let i = first; i <= end; i++) pen.lineTo(x(t[i]), y(last[i]));
  pen.lineTo(x(endOf(series, end)), y(last[end]));
  pen.stroke();
  pen.lineWidth = 1;
  if (first === end) dot(pen, x(t[first]), y(last[first]), 1.5);
}

function dot(pen, x, y, radius) {
  pen.fillStyle = colours.trace;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.fill();
}

function drawEnd({ pen, x, y }, { series, to, gapMs }) {
  const i = series.t.length - 1;
  if (i >= 0 && series.last[i] != null && to - series.t[i] < gapMs) dot(pen, x(series.t[i]), y(series.last[i]), 3);
}

function drawLimits({ pen, y, left, right }, limits, low, high) {
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const [key, label] of LIMITS) {
    const limit = limits[key];
    if (limit == null || limit < low || limit > high) continue;
    pen.strokeStyle = pen.fillStyle = colours.limit;
    pen.setLineDash(key.length === 2 ? [] : [5, 4]);
    rule(pen, left, y(limit), right, y(limit));
    pen.setLineDash([]);
    pen.fillText(`${label} ${tidy(limit)}`, right + 6, y(limit));
  }
}

function drawStates(plot, lane) {
  const { pen, x, left, right } = plot;
  const [top, tall] = [plot.top, plot.bottom - plot.top - BAR_PX - 2];
  const words = [...new Set(lane.series.text)].filter((word) => word != null).sort();
  inside(plot, () => {
    for (const [first, last] of runsOf(lane))
      for (const block of blocks(lane, first, last)) {
        const [x0, x1] = [Math.max(left, x(block.from)), Math.min(right, x(block.to))];
        const shade = 1 + (words.indexOf(block.word) % 4);
        pen.fillStyle = colours[`state-${shade}`];
        pen.fillRect(x0, top, x1 - x0, tall);
        sayState(pen, block.word, shade, x0, x1, top + tall / 2);
      }
  });
}

function sayState(pen, word, shade, x0, x1, y) {
  if (x1 - x0 < pen.measureText(word).width + 12) return;
  pen.fillStyle = shade === 2 || shade === 4 ? colours.raised : colours.ink;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.fillText(word, x0 + 6, y);
}

/** Equal states side by side as one block; each lasts until the next begins. */
export function blocks({ series, to }, first, last) {
  const found = [];
  for (let i = first; i <= last; i++) {
    const end = i < last ? series.t[i + 1] : Math.min(to, series.t[i + 1] ?? to);
    const before = found.at(-1);
    if (before?.word === series.text[i]) before.to = end;
    else found.push({ word: series.text[i], from: series.t[i], to: end });
  }
  return found;
}

function drawEpisodeBars({ pen, x, left, right, height }, { episodes, to }) {
  for (const { ms, untilMs, priority } of episodes) {
    const [x0, x1] = [Math.max(left, x(ms)), Math.min(right, x(untilMs ?? to))];
    pen.fillStyle = colours[priority];
    if (x1 > left && x0 < right) pen.fillRect(x0, height - PAD - BAR_PX, Math.max(2, x1 - x0), BAR_PX);
  }
}

function drawMark({ pen, x, y, left, right, top, bottom }, { ms, value, priority }) {
  const cx = x(ms);
  if (cx < left || cx > right) return;
  const cy = value == null ? bottom - 12 : Math.min(bottom - 8, Math.max(top + 6, y(value)));
  shape(pen, priority, cx, cy, MARK_PX);
  pen.fillStyle = colours[priority];
  pen.strokeStyle = colours.raised;
  pen.lineWidth = 1.5;
  pen.stroke();
  pen.fill();
  pen.lineWidth = 1;
}

const SHAPES = {
  critical: [
    [-1, -1],
    [1, -1],
    [1, 1],
    [-1, 1],
  ],
  high: [
    [0, -1.2],
    [1.2, 1],
    [-1.2, 1],
  ],
  medium: [
    [0, 1.2],
    [1.2, -1],
    [-1.2, -1],
  ],
  low: [
    [0, -1.3],
    [1.3, 0],
    [0, 1.3],
    [-1.3, 0],
  ],
};

function shape(pen, priority, cx, cy, size) {
  pen.beginPath();
  for (const [dx, dy] of SHAPES[priority]) pen.lineTo(cx + dx * size, cy + dy * size);
  pen.closePath();
}

function drawCursor({ pen, x, y, left, right, height }, { cursorMs, series, gapMs }) {
  if (cursorMs == null) return;
  const at = x(cursorMs);
  if (at < left || at > right) return;
  pen.strokeStyle = colours.accent;
  rule(pen, at, 0, at, height);
  const value = valueAt({ series, gapMs }, cursorMs);
  if (value && y && value.last != null) dot(pen, x(value.ms), y(value.last), 3);
}

/** What the series says at a moment: {ms, lo, hi, last, text}; null within a gap. */
export function valueAt(lane, ms) {
  const { series } = lane;
  const before = indexAt(series.t, ms);
  const after = before + 1;
  const past = before < 0 || (ms >= endOf(series, before) && series.t[after] - ms < ms - series.t[before]);
  const closer = after < series.t.length && past;
  const i = closer && series.text[after] == null ? after : before;
  const missing = i < 0 || (series.last[i] == null && series.text[i] == null);
  if (missing || Math.abs(series.t[i] - ms) > reach(lane, i)) return null;
  return { ms: series.t[i], lo: series.lo[i], hi: series.hi[i], last: series.last[i], text: series.text[i] };
}

/** The episode whose mark or bar lies under a moment of a lane so wide, if any. */
export function episodeAt({ from, to, episodes }, ms, width) {
  const near = ((to - from) * NEAR_PX) / Math.max(1, width - GUTTER - EDGE);
  return episodes.findLast((one) => Math.abs(one.ms - ms) < near || (one.ms < ms && ms < (one.untilMs ?? to)));
}

/** The axis below the lanes. */
export function drawAxis(canvas, from, to, cursorMs, label) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const pen = sharp(canvas, width, height);
  const x = linear(from, to, GUTTER, width - EDGE);
  pen.font = `11px ${colours.font}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (const tick of timeTicks(from, to, width - GUTTER - EDGE)) {
    pen.fillStyle = tick.day ? colours.ink : colours["ink-3"];
    pen.fillText(tick.label, x(tick.ms), height / 2);
  }
  if (cursorMs != null) flag(pen, x(cursorMs), height, label, width);
}

function flag(pen, at, height, label, width) {
  const wide = pen.measureText(label).width + 14;
  const left = Math.min(width - wide, Math.max(0, at - wide / 2));
  pen.fillStyle = colours.accent;
  pen.fillRect(left, 1, wide, height - 2);
  pen.fillStyle = colours["on-accent"];
  pen.fillText(label, left + wide / 2, height / 2);
}
