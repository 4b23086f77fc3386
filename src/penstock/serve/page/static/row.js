// One value of the overview: its flag, name, number, band, course and age.

import { SPARK_BIN_MS, SPARK_MS, gapOf } from "./course.js";
import { beforePaint, h, icon, mark } from "./dom.js";
import { Gauge, drawSpark, sparkCanvas } from "./spark.js";
import { at, leaf, now, number, span, unit, utc } from "./words.js";

/** `plotted()` tells which tags are in the trends; `plot` is called when someone wants this one there, or gone. */
export class Row {
  #path;
  #plant;
  #courses;
  #plotted;
  #gauge = new Gauge();
  #spark = sparkCanvas();
  #parts;
  #draw;

  constructor(path, plant, courses, plotted, plot) {
    [this.#path, this.#plant, this.#courses, this.#plotted] = [path, plant, courses, plotted];
    this.#parts = {
      mark: h("span", { class: "flag" }),
      name: h("span", { class: "name" }, leaf(path)),
      note: h("small", {}),
      value: h("b", {}),
      unit: h("span", { class: "unit" }),
      quality: h("span", { class: "quality" }),
      age: h("time", { class: "age" }),
      plot: h("button", { class: "quiet plot", "aria-label": `Trend of ${path}`, onclick: plot }, icon("trend")),
    };
    const { mark: flag, name, note, value, unit: units, quality, age, plot: toggle } = this.#parts;
    this.element = h(
      "div",
      { class: "row", "data-tag": path, title: path },
      flag,
      h("div", { class: "what" }, name, note),
      h("div", { class: "now" }, h("span", { class: "figure" }, value, units), quality),
      this.#gauge.element,
      this.#spark,
      age,
      toggle,
    );
    this.#draw = beforePaint(() => this.#paint());
  }

  show() {
    this.#draw();
  }

  #paint() {
    const reading = this.#plant.latest.get(this.#path);
    const tag = this.#plant.tags.get(this.#path) ?? {};
    const worst = this.#plant.worst(this.#path);
    this.#say(reading, tag, worst);
    const course = this.#courses.of(this.#path);
    this.#gauge.show(reading?.value ?? null, tag.limits ?? {}, course?.usual, worst?.active ? worst.priority : null);
    if (course)
      drawSpark(
        this.#spark,
        course.spark,
        now() - SPARK_MS,
        now(),
        gapOf(course.spark, SPARK_BIN_MS, this.#plant.interval(this.#path)),
      );
    this.age();
  }

  #say(reading, tag, worst) {
    const { mark: flag, note, value, unit: units, quality, plot } = this.#parts;
    flag.replaceChildren(worst ? mark(worst.priority) : "");
    note.textContent = worst ? worst.because : (tag.description ?? "");
    value.textContent = reading?.state ?? number(reading?.value);
    value.className = reading?.state ? "word" : "";
    units.textContent = unit(reading?.unit ?? tag.unit);
    quality.textContent = qualityWords(reading?.quality);
    this.element.dataset.priority = worst?.priority ?? "";
    plot.setAttribute("aria-pressed", String(this.#plotted().has(this.#path)));
  }

  /** How old the value is, by its own time: nothing on this page makes it younger. */
  age() {
    const reading = this.#plant.latest.get(this.#path);
    const stale = this.#plant.isStale(this.#path);
    this.element.classList.toggle("stale", stale);
    this.#parts.age.textContent = reading ? `${stale ? "stale " : ""}${span(now() - reading.ms)}` : "no value";
    if (reading) this.#parts.age.title = `${at(reading.ms, "full")}\n${utc(reading.ms)}`;
  }
}

const qualityWords = (quality) =>
  quality == null || quality === "good" || quality === 0
    ? ""
    : typeof quality === "number"
      ? `0x${quality.toString(16)}`
      : quality;
