// Two small pictures beside each number: where it stands in its band, and how it got there.

import { colours, h, s, sharp } from "./dom.js";
import { blocks, runsOf } from "./chart.js";
import { extent, linear } from "./scale.js";
import { number } from "./words.js";

const WIDE = 148;
const TRACK_Y = 7;
const TRACK_TALL = 8;

/** A moving analogue indicator (ISA-101): grey scale, usual range darker, limits as ticks, a pointer that moves. */
export class Gauge {
  element = s("svg", { class: "gauge", viewBox: `0 0 ${WIDE} 30`, width: WIDE, height: 30, role: "img" });
  #scale = null;
  #pointer = s("path", { class: "pointer", d: "M-5 0.5L5 0.5L0 6.5z M-0.75 5h1.5v11.5h-1.5z" });
  #known = null;

  /** `limits` {ll,l,h,hh}, `usual` {low, high} or null, `priority` of an open alarm or null. */
  show(value, limits, usual, priority) {
    this.element.toggleAttribute("hidden", value == null);
    if (value == null) return;
    this.#ground(value, limits, usual);
    const x = Math.min(WIDE - 5, Math.max(5, this.#scale(value)));
    this.#pointer.setAttribute("transform", `translate(${x.toFixed(1)} 0)`);
    this.#pointer.setAttribute("class", `pointer ${priority ?? ""}`);
    this.element.setAttribute("aria-label", told(value, limits, usual));
  }

  /** With something to stand against on both sides, a value off the scale rests at its end rather than stretch it. */
  #ground(value, limits, usual) {
    const held = [limits.ll, limits.l, limits.h, limits.hh, usual?.low, usual?.high];
    const firm = isAnchored(limits, usual);
    if (held.join() === this.#known && (firm || this.#inside(value))) return;
    this.#known = held.join();
    const [low, high] = extent(firm ? held : [...held, value], 0.22);
    this.#scale = linear(low, high, 0, WIDE);
    this.element.replaceChildren(...this.#parts(limits, usual, low, high), this.#pointer);
  }

  #inside(value) {
    const x = this.#scale?.(value) ?? -1;
    return x >= 0 && x <= WIDE;
  }

  #parts({ ll, l, h: high, hh }, usual, from, to) {
    const [lower, upper] = [l ?? ll ?? from, high ?? hh ?? to];
    return [
      this.#block("outside", from, to),
      this.#block("within", lower, upper),
      usual && this.#block("usual", usual.low, usual.high),
      ...[
        ["LL", ll],
        ["L", l],
        ["H", high],
        ["HH", hh],
      ].map(([name, at]) => at != null && this.#tick(name, at)),
    ]
      .flat()
      .filter(Boolean);
  }

  #block(name, from, to) {
    const [x0, x1] = [this.#scale(from), this.#scale(to)].map((x) => Math.min(WIDE, Math.max(0, x)));
    return s("rect", { class: name, x: x0, y: TRACK_Y, width: Math.max(0, x1 - x0), height: TRACK_TALL });
  }

  #tick(name, value) {
    const x = this.#scale(value);
    return [
      s("line", { class: "limit", x1: x, x2: x, y1: TRACK_Y - 1, y2: TRACK_Y + TRACK_TALL + 2 }),
      name.length === 1 && s("text", { x, y: 27 }, name),
    ];
  }
}

function isAnchored({ ll, l, h: high, hh }, usual) {
  const [below, above] = [l ?? ll, high ?? hh];
  return (below != null && above != null) || (usual != null && (below != null || above != null));
}

function told(value, { ll, l, h: high, hh }, usual) {
  const within = usual ? `, usually ${number(usual.low)} to ${number(usual.high)}` : "";
  const limits = [
    ["low-low", ll],
    ["low", l],
    ["high", high],
    ["high-high", hh],
  ].filter(([, at]) => at != null);
  return `${number(value)}${within}${limits.map(([name, at]) => `, ${name} limit ${number(at)}`).join("")}`;
}

/** A sparkline of {t, lo, hi, last, text} over [from, to]. */
export function drawSpark(canvas, series, from, to, gapMs) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  const pen = sharp(canvas, width, height);
  const x = linear(from, to, 1, width - 4);
  if (series.text.some((word) => word != null)) return sparkStates(pen, series, x, to, height);
  const y = linear(...extent([...series.lo, ...series.hi], 0.1), height - 2, 2);
  for (const run of runsOf({ series, gapMs })) sparkRun(pen, series, run, x, y);
  const end = series.t.length - 1;
  if (end >= 0 && to - series.t[end] < gapMs) sparkEnd(pen, x(series.t[end]), y(series.last[end]));
}

function sparkRun(pen, { t, lo, hi, last }, [first, end], x, y) {
  pen.fillStyle = colours.band;
  pen.globalAlpha = 0.4;
  pen.beginPath();
  for (let i = first; i <= end; i++) pen.lineTo(x(t[i]), y(hi[i]));
  for (let i = end; i >= first; i--) pen.lineTo(x(t[i]), y(lo[i]));
  pen.fill();
  pen.globalAlpha = 1;
  pen.strokeStyle = colours.trace;
  pen.lineWidth = 1.2;
  pen.beginPath();
  for (let i = first; i <= end; i++) pen.lineTo(x(t[i]), y(last[i]));
  pen.stroke();
}

function sparkEnd(pen, x, y) {
  pen.fillStyle = colours.trace;
  pen.beginPath();
  pen.arc(x, y, 2.2, 0, 7);
  pen.fill();
}

function sparkStates(pen, series, x, to, height) {
  const words = [...new Set(series.text)].sort();
  for (const { word, from, to: end } of blocks({ series, to }, 0, series.t.length - 1)) {
    pen.fillStyle = colours[`state-${1 + (words.indexOf(word) % 4)}`];
    pen.fillRect(x(from), height / 2 - 4, Math.max(1, x(end) - x(from)), 8);
  }
}

export const sparkCanvas = () => h("canvas", { class: "spark", "aria-hidden": "true" });
