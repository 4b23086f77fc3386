// The chosen asset at a glance: each value with its unit, quality and age, in its band, with its recent course.

import { beforePaint, find, h, mark } from "./dom.js";
import { Row } from "./row.js";
import { Windowed } from "./windowed.js";
import { count, leaf, parent } from "./words.js";

const GROUP_PX = 38;
const FILTERS = { all: "All", alarm: "In alarm", stale: "Stale" };

/** Events: `plot` (path), `seen` (paths on screen). `plotted` says which tags are in the trends. */
export class Overview extends EventTarget {
  plotted = new Set();
  #plant;
  #list;
  #asset = "";
  #filter = "all";
  #rows = new Map();
  #courses;
  #title;
  #chips;
  #scroll;
  #empty;

  constructor(plant, courses) {
    super();
    [this.#plant, this.#courses] = [plant, courses];
    this.#build();
    this.#list = new Windowed(this.#scroll, {
      tallOf: (item) => (item.group ? GROUP_PX : rowPx()),
      keyOf: (item) => item.path + (item.group ? "/" : ""),
      make: (item) => (item.group ? this.#group(item) : this.#row(item.path)),
      onSeen: (items) => this.#seen(items),
    });
    plant.addEventListener(
      "tags",
      beforePaint(() => this.show(this.#asset)),
    );
    plant.addEventListener("readings", (event) => this.#live(event.detail));
    courses.addEventListener("course", (event) => this.#live([event.detail]));
    plant.addEventListener(
      "alarms",
      beforePaint(() => this.#refilter()),
    );
    setInterval(() => this.#tick(), 1000);
  }

  show(asset) {
    this.#asset = asset;
    const items = this.#items();
    const title = asset ? leaf(asset) : "Whole plant";
    this.#title.replaceChildren(h("h2", {}, title), h("span", { class: "where" }, asset ? parent(asset) : ""));
    this.#teach(items);
    this.#list.show(items);
  }

  /** The rows that show, painted again: something beside their readings changed. */
  refresh() {
    this.#rows.forEach((row) => row.show());
  }

  /** Everything made anew, as for another theme. */
  redraw() {
    this.#rows.clear();
    this.#list.show(this.#items(), { afresh: true });
  }

  #build() {
    this.#title = h("div", { class: "title" });
    this.#chips = h(
      "div",
      { class: "chips side", role: "group", "aria-label": "Show" },
      Object.entries(FILTERS).map(([key, label]) =>
        h(
          "button",
          { "data-filter": key, "aria-pressed": String(key === "all"), onclick: () => this.#choose(key) },
          label,
        ),
      ),
    );
    this.#scroll = h("div", { class: "scroll values", tabindex: "-1" });
    this.#empty = h("div", { class: "empty", hidden: true });
    find("overview").append(h("header", {}, this.#title, this.#chips), this.#empty, this.#scroll);
  }

  #choose(filter) {
    this.#filter = filter;
    for (const chip of this.#chips.children) chip.setAttribute("aria-pressed", String(chip.dataset.filter === filter));
    this.show(this.#asset);
  }

  #refilter() {
    if (this.#filter === "all") this.#rows.forEach((row) => row.show());
    else this.show(this.#asset);
    for (const key of this.#list.keys())
      if (key.endsWith("/")) this.#headline(key.slice(0, -1), this.#list.element(key));
  }

  #items() {
    const prefix = this.#asset ? `${this.#asset}/` : "";
    const paths = [...this.#plant.tags.keys()]
      .filter((path) => path.startsWith(prefix) && this.#fits(path))
      .sort(byPlace);
    return paths.flatMap((path, i) => {
      const asset = parent(path);
      return asset === parent(paths[i - 1] ?? "") && i ? [{ path }] : [{ path: asset, group: true }, { path }];
    });
  }

  #fits(path) {
    if (this.#filter === "alarm") return this.#plant.worst(path) !== null;
    return this.#filter === "all" || this.#plant.isStale(path);
  }

  #teach(items) {
    this.#empty.hidden = items.length > 0;
    this.#scroll.hidden = items.length === 0;
    if (items.length === 0)
      this.#empty.replaceChildren(...(this.#plant.tags.size ? nothingHere(this.#filter) : firstReading()));
  }

  #group(item) {
    const row = h("div", { class: "group" });
    this.#headline(item.path, row);
    return row;
  }

  #headline(path, row) {
    const alarms = this.#plant.rollUp(path);
    row.replaceChildren(
      h("span", { class: "trail" }, h("b", {}, leaf(path)), h("span", {}, parent(path).replaceAll("/", " / "))),
      alarms ? h("span", { class: "rolled" }, mark(alarms.worst.priority), count(alarms.n, "alarm")) : "",
    );
  }

  #row(path) {
    const row = new Row(
      path,
      this.#plant,
      this.#courses,
      () => this.plotted,
      () => this.dispatchEvent(new CustomEvent("plot", { detail: path })),
    );
    this.#rows.set(path, row);
    row.show();
    this.#want(path);
    return row.element;
  }

  #want(path) {
    this.#courses.want(path, () => this.#rows.has(path));
  }

  /** Rows that left the window stop working; the caller learns what is on screen. */
  #seen(items) {
    const paths = new Set(items.filter((item) => !item.group).map((item) => item.path));
    for (const path of this.#rows.keys()) if (!paths.has(path)) this.#rows.delete(path);
    this.dispatchEvent(new CustomEvent("seen", { detail: [...paths] }));
  }

  #live(paths) {
    for (const path of paths) this.#rows.get(path)?.show();
  }

  #tick() {
    this.#rows.forEach((row) => row.age());
    for (const path of this.#rows.keys()) this.#want(path);
  }
}

const rowPx = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
const byPlace = (one, other) =>
  parent(one).localeCompare(parent(other), "en", { numeric: true }) ||
  one.localeCompare(other, "en", { numeric: true });
const nothingHere = (filter) => [
  h(
    "p",
    {},
    { alarm: "No open alarm here.", stale: "Every value here is fresh." }[filter] ?? "No tags below this asset.",
  ),
];

function firstReading() {
  const reading = { tag: "site/area/line-1/pump-1/pressure", ts: new Date().toISOString(), value: 4.2, unit: "bar" };
  const headers = "-H 'X-API-Key: YOUR_KEY' -H 'Content-Type: application/json'";
  const line = `curl ${headers} ${location.origin}/v1/readings -d '${JSON.stringify(reading)}'`;
  return [
    h("h3", {}, "No readings yet"),
    h("p", {}, "A tag appears here with its first reading. Send one:"),
    h("pre", {}, line),
    h(
      "p",
      { class: "hint" },
      "Or start a simulated plant with ",
      h("code", {}, "penstock simulate"),
      ", or bring history in with ",
      h("code", {}, "penstock replay FILE.csv"),
      ".",
    ),
  ];
}
