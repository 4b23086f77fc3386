// The chosen tags over time: one lane a tag, one time axis, live until someone looks back.

import { anomalies, course, inTurn } from "./api.js";
import { cursorNote, floorNote, saidFloor } from "./archive.js";
import { EDGE, GUTTER, drawAxis, drawLane, episodeAt, valueAt } from "./chart.js";
import { append, emptySeries, gapOf } from "./course.js";
import { beforePaint, find, h, icon, whenQuiet } from "./dom.js";
import { Tip, earlierEdges, episodesOf } from "./episodes.js";
import { orTell } from "./notices.js";
import { linear } from "./scale.js";
import { at, leaf, now, number, parent, span, unit } from "./words.js";

const M = 60000;
export const RANGES = { "5 min": 5 * M, "1 h": 60 * M, "8 h": 480 * M, "24 h": 1440 * M, "7 d": 10080 * M };
const POINTS = 600;
const LANES_MAX = 8;
const SPAN_MIN_MS = 10000;
const RENEW_MIN_MS = 20000;
const LANE_PX = [0, 230, 150, 112];
const LANE_LEAST_PX = 92;
const STATE_PX = 46;

/** Events: `change` when the tags or the range are others. */
export class Trends extends EventTarget {
  #plant;
  #courses;
  #lanes = new Map();
  #range = "1 h";
  #held = null;
  #cursor = null;
  #drag = null;
  #fetching = null;
  #box;
  #stack;
  #axis;
  #tip = new Tip();
  #empty;
  #draw;
  #ranges;
  #liveButton;
  #said;
  #note;

  constructor(plant, courses) {
    super();
    [this.#plant, this.#courses] = [plant, courses];
    this.#draw = beforePaint(() => this.#paint());
    this.#build();
    plant.addEventListener("readings", (event) => this.#live(event.detail));
    plant.addEventListener(
      "alarms",
      whenQuiet(800, () => this.#lanes.forEach((lane) => this.#loadEpisodes(lane))),
    );
    plant.addEventListener("tags", this.#draw);
    courses.addEventListener("course", this.#draw);
    new ResizeObserver(this.#draw).observe(this.#box);
    setInterval(() => this.#tick(), 1000);
  }

  get tags() {
    return [...this.#lanes.keys()];
  }
  get range() {
    return this.#range;
  }
  draw() {
    this.#draw();
  }

  /** Show exactly these tags over this range. */
  set(tags, range) {
    if (RANGES[range]) this.#range = range;
    this.#lanes.clear();
    tags.slice(0, LANES_MAX).forEach((tag) => this.#lanes.set(tag, newLane(tag)));
    this.#changed();
  }

  toggle(tag) {
    if (this.#lanes.has(tag)) this.#lanes.delete(tag);
    else this.#add(tag);
    this.#changed();
  }

  #add(tag) {
    if (this.#lanes.size === LANES_MAX) this.#lanes.delete(this.tags[0]);
    this.#lanes.set(tag, newLane(tag));
  }

  #changed() {
    this.#arrange();
    this.load();
    this.dispatchEvent(new CustomEvent("change"));
  }

  /** [from, to] of what is shown: the range up to now, or a held window. */
  #window() {
    if (this.#held) return this.#held;
    const to = now();
    return [to - RANGES[this.#range], to];
  }

  async load() {
    this.#fetching?.abort();
    this.#fetching = new AbortController();
    const { signal } = this.#fetching;
    await orTell(() => Promise.all([...this.#lanes.values()].map((lane) => this.#loadLane(lane, signal))));
  }

  async #loadLane(lane, signal) {
    const [from, to] = this.#window();
    lane.loadedAt = Date.now();
    this.#courses.want(lane.tag);
    const [found] = await inTurn(() =>
      Promise.all([course(lane.tag, from, to + 1, POINTS, signal), this.#loadEpisodes(lane)]),
    );
    Object.assign(lane, found);
    this.#catchUp(lane);
    this.#draw();
  }

  #catchUp(lane) {
    const reading = this.#plant.latest.get(lane.tag);
    if (reading && !this.#held) append(lane.series, reading, this.#bin(), RANGES[this.#range]);
  }

  async #loadEpisodes(lane) {
    const [from, to] = this.#window();
    const { items } = await anomalies(lane.tag, from, to + 1);
    lane.episodes = episodesOf([...earlierEdges(this.#plant.alarms.values(), lane.tag, from), ...items]);
    this.#draw();
  }

  #bin() {
    const [from, to] = this.#window();
    return (to - from) / POINTS;
  }

  #live(paths) {
    for (const [tag, lane] of this.#lanes) if (paths.has(tag)) this.#catchUp(lane);
    this.#draw();
  }

  /** Live windows move on; now and then the plant's own bins replace ours. */
  #tick() {
    if (this.#held || this.#lanes.size === 0 || document.hidden) return;
    const due = Math.max(RENEW_MIN_MS, RANGES[this.#range] / 60);
    if ([...this.#lanes.values()].some((lane) => Date.now() - lane.loadedAt > due)) this.load();
    this.#draw();
  }

  #build() {
    this.#ranges = h(
      "div",
      { class: "chips", role: "group", "aria-label": "Range" },
      Object.keys(RANGES).map((range) =>
        h("button", { "data-range": range, onclick: () => this.#setRange(range) }, range),
      ),
    );
    this.#liveButton = h(
      "button",
      { class: "live", onclick: () => this.#hold(null) },
      h("i", { class: "lamp" }),
      "Live",
    );
    this.#stack = h("div", { class: "lanes" });
    this.#axis = h("canvas", { class: "axis", "aria-hidden": "true" });
    this.#said = h("p", { class: "unseen", role: "status" });
    this.#note = h("p", { class: "archived", id: "archived", hidden: true });
    this.#empty = h(
      "p",
      { class: "empty" },
      "Choose the ",
      icon("trend"),
      " beside a value to see its course. Several share one time axis.",
    );
    this.#box = h(
      "div",
      {
        class: "scroll plots",
        tabindex: "0",
        role: "application",
        "aria-label": "Trend chart. Left and right move the cursor, plus and minus zoom, Home returns to live.",
        "aria-describedby": "archived",
      },
      this.#stack,
      this.#axis,
      this.#tip.element,
      this.#said,
    );
    find("trends").append(
      h("header", {}, h("h2", {}, "Trends"), h("div", { class: "side" }, this.#ranges, this.#liveButton)),
      this.#empty,
      this.#box,
      this.#note,
    );
    this.#listen();
  }

  #listen() {
    const box = this.#box;
    box.addEventListener("pointermove", (event) => this.#point(event));
    box.addEventListener("pointerleave", () => {
      if (!this.#drag) this.#moveCursor(null);
    });
    box.addEventListener("pointerdown", (event) => this.#press(event));
    box.addEventListener("pointerup", (event) => this.#release(event));
    box.addEventListener("dblclick", () => this.#hold(null));
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("blur", () => this.#moveCursor(null));
  }

  #setRange(range) {
    this.#range = range;
    this.#hold(null);
    this.dispatchEvent(new CustomEvent("change"));
  }

  #hold(window) {
    this.#held = window;
    this.#arrange();
    this.load();
  }

  /** One header and one canvas a lane; those that stay are left as they are. */
  #arrange() {
    for (const chip of this.#ranges.children)
      chip.setAttribute("aria-pressed", String(!this.#held && chip.dataset.range === this.#range));
    this.#liveButton.setAttribute("aria-pressed", String(!this.#held));
    this.#empty.hidden = this.#lanes.size > 0;
    this.#box.hidden = this.#lanes.size === 0;
    this.#stack.replaceChildren(...[...this.#lanes.values()].map((lane) => lane.element ?? this.#furnish(lane)));
    this.#draw();
  }

  #furnish(lane) {
    lane.canvas = h("canvas", { role: "img", "data-tag": lane.tag });
    [lane.value, lane.age] = [h("b"), h("span", { class: "age" })];
    lane.head = h(
      "div",
      { class: "head", title: lane.tag },
      h("span", { class: "name" }, leaf(lane.tag)),
      h("span", { class: "where" }, parent(lane.tag)),
      lane.age,
      lane.value,
      h(
        "button",
        { class: "quiet", "aria-label": `Remove ${lane.tag}`, onclick: () => this.toggle(lane.tag) },
        icon("close"),
      ),
    );
    return (lane.element = h("div", { class: "lane" }, lane.head, lane.canvas));
  }

  #paint() {
    const [from, to] = this.#window();
    const tall = Math.max(LANE_LEAST_PX, LANE_PX[this.#lanes.size] ?? LANE_LEAST_PX);
    const said = new Set();
    for (const lane of this.#lanes.values()) if (lane.canvas) this.#paintLane(lane, from, to, tall, said);
    this.#sayFloors();
    if (this.#axis.clientWidth)
      drawAxis(
        this.#axis,
        from,
        to,
        this.#cursor,
        this.#cursor && at(this.#cursor, to - from > 86400000 ? "full" : "time"),
      );
  }

  /** `said` has the floors that a lane above is labelled with: once is enough. */
  #paintLane(lane, from, to, tall, said) {
    const tag = this.#plant.tags.get(lane.tag) ?? {};
    const states = lane.series.text.some((word) => word != null);
    lane.canvas.style.height = `${states ? STATE_PX : tall}px`;
    lane.gapMs = gapOf(lane.series, (to - from) / POINTS, this.#plant.interval(lane.tag));
    Object.assign(lane, {
      from,
      to,
      cursorMs: this.#cursor,
      labelled: !states && !said.has(lane.archivedMs),
      limits: tag.limits ?? {},
      usual: this.#courses.of(lane.tag)?.usual ?? null,
    });
    if (lane.labelled) said.add(lane.archivedMs);
    drawLane(lane.canvas, lane);
    this.#sayValue(lane, tag);
  }

  #sayFloors() {
    const note = floorNote([...this.#lanes.values()], this.#plant.archivedIn);
    const words = note.map((part) => part.textContent ?? part).join("");
    if (this.#note.textContent !== words) this.#note.replaceChildren(...note);
    this.#note.hidden = note.length === 0;
  }

  #sayValue(lane, tag) {
    const latest = this.#plant.latest.get(lane.tag);
    const seen =
      this.#cursor == null
        ? { last: latest?.value, text: latest?.state }
        : valueAt(lane, this.#cursor);
    const stale = this.#cursor == null && this.#plant.isStale(lane.tag);
    lane.head.classList.toggle("stale", stale);
    lane.age.textContent = stale ? `stale ${span(now() - latest.ms)}` : "";
    lane.value.textContent = seen ? (seen.text ?? `${number(seen.last)} ${unit(latest?.unit ?? tag.unit)}`) : "no data";
    lane.canvas.setAttribute(
      "aria-label",
      `${lane.tag}: ${lane.value.textContent}, ${lane.episodes.length} anomalies in view${saidFloor(lane)}`,
    );
  }

  #msAt(event) {
    const box = this.#stack.getBoundingClientRect();
    const [from, to] = this.#window();
    const ms = linear(GUTTER, box.width - EDGE, from, to)(event.clientX - box.left);
    return Math.min(to, Math.max(from, ms));
  }

  #point(event) {
    const ms = this.#msAt(event);
    this.#moveCursor(ms, event);
    if (this.#drag) this.#drag.to = ms;
  }

  #moveCursor(ms, event = null) {
    this.#cursor = ms;
    this.#draw();
    const lane = event && [...this.#lanes.values()].find((one) => one.element.contains(event.target));
    this.#explain(ms, event, lane ? [lane] : event ? [] : [...this.#lanes.values()]);
  }

  #explain(ms, event, lanes) {
    const found = ms == null ? null : lanes.map((lane) => episodeAt(lane, ms, lane.canvas.clientWidth)).find(Boolean);
    if (!found) return this.#tip.hide();
    const box = this.#box.getBoundingClientRect();
    const x = linear(...this.#window(), GUTTER, box.width - EDGE)(ms);
    const y = event ? event.clientY - box.top : lanes[0].element.offsetTop;
    this.#tip.show(found, x, y + this.#box.scrollTop, box.width);
  }

  #press(event) {
    if (event.target.closest("button") || event.pointerType === "touch") return this.#point(event);
    this.#drag = { from: this.#msAt(event), to: this.#msAt(event) };
    this.#box.setPointerCapture(event.pointerId);
  }

  /** A drag zooms into what it spans; a click is nothing. */
  #release() {
    const drag = this.#drag;
    this.#drag = null;
    if (!drag) return;
    const [from, to] = [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)];
    const [start, end] = this.#window();
    if (to - from > (end - start) / 60) this.#hold([from, Math.max(to, from + SPAN_MIN_MS)]);
  }

  #key(event) {
    if (event.target !== this.#box) return;
    const [from, to] = this.#window();
    const step = (to - from) / (event.shiftKey ? 10 : 100);
    const act = {
      ArrowLeft: () => this.#nudge(-step),
      ArrowRight: () => this.#nudge(step),
      "+": () => this.#zoom(0.5),
      "=": () => this.#zoom(0.5),
      "-": () => this.#zoom(2),
      PageUp: () => this.#hold([from - (to - from) / 2, to - (to - from) / 2]),
      Home: () => this.#hold(null),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #nudge(by) {
    const [from, to] = this.#window();
    this.#moveCursor(Math.min(to, Math.max(from, (this.#cursor ?? to) + by)));
    this.#paint();
    const values = [...this.#lanes.values()].map((lane) => `${leaf(lane.tag)} ${lane.value.textContent}${cursorNote(lane)}`);
    const episode = this.#tip.element.hidden ? "" : ` ${this.#tip.element.textContent}`;
    this.#said.textContent = `${at(this.#cursor)}: ${values.join(", ")}.${episode}`;
  }

  #zoom(by) {
    const [from, to] = this.#window();
    const [middle, half] = [this.#cursor ?? to, Math.max(SPAN_MIN_MS, (to - from) * by) / 2];
    this.#hold([middle - half, Math.min(now(), middle + half)]);
  }
}

const newLane = (tag) => ({
  tag,
  series: emptySeries(),
  archivedMs: null,
  expiredMs: null,
  episodes: [],
  gapMs: Infinity,
  loadedAt: Date.now(),
});
