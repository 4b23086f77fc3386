// The asset tree: what tag paths spell out, opened as far as someone asks, with each branch's alarms rolled up.

import { beforePaint, find, h, icon, mark, whenQuiet } from "./dom.js";
import { Windowed } from "./windowed.js";
import { count, leaf, parent } from "./words.js";

const ROW_PX = 32;
const FOUND_MAX = 400;
const OPEN_AT_FIRST = 40;

/** Events: `choose` (an asset's path; "" is the whole plant) and `plot` (a tag's path). */
export class Tree extends EventTarget {
  #plant;
  #list;
  #children = new Map();
  #leaves = new Map();
  #open = new Set([""]);
  #rows = [];
  #chosen = "";
  #cursor = 0;
  #sought = "";
  #box = find("tree");

  constructor(plant) {
    super();
    this.#plant = plant;
    this.#list = new Windowed(this.#box, {
      tallOf: () => ROW_PX,
      keyOf: (row) => row.path,
      make: (row) => this.#row(row),
    });
    plant.addEventListener(
      "tags",
      beforePaint(() => this.#grow()),
    );
    plant.addEventListener(
      "alarms",
      beforePaint(() => this.#show()),
    );
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#box.addEventListener("click", (event) => this.#click(event));
    find("search").addEventListener(
      "input",
      whenQuiet(120, () => this.#seek()),
    );
    find("search").addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") this.#box.focus();
    });
  }

  get chosen() {
    return this.#chosen;
  }

  choose(path) {
    this.#chosen = path;
    for (let up = path; up; up = parent(up)) this.#open.add(parent(up));
    this.#show();
  }

  #grow() {
    [this.#children, this.#leaves] = [new Map(), new Map()];
    for (const path of this.#plant.tags.keys()) this.#plantPath(path);
    for (const below of this.#children.values()) below.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    if (this.#open.size === 1) this.#openSome();
    find("tree-foot").textContent =
      `${count(this.#plant.tags.size, "tag")} · ${count(this.#children.size - 1, "asset")}`;
    this.#show();
  }

  #plantPath(path) {
    let fresh = path;
    for (let up = parent(path); ; fresh = up, up = parent(up)) {
      this.#leaves.set(up, (this.#leaves.get(up) ?? 0) + 1);
      const below = this.#children.get(up);
      if (!below) this.#children.set(up, [fresh]);
      else if (fresh === path || !below.includes(fresh)) below.push(fresh);
      if (!up) return;
    }
  }

  /** Opens level by level while it stays easy to take in. */
  #openSome() {
    for (let level = [""]; level.length;) {
      const next = level.flatMap((path) => this.#assets(path));
      if (next.length > OPEN_AT_FIRST) return;
      level.forEach((path) => this.#open.add(path));
      level = next.filter((path) => this.#assets(path).length);
    }
  }

  #assets(path) {
    return (this.#children.get(path) ?? []).filter((child) => this.#children.has(child));
  }

  #seek() {
    this.#sought = find("search").value.trim().toLowerCase();
    this.#cursor = 0;
    this.#show();
  }

  #show() {
    this.#rows = this.#sought ? this.#found() : [{ path: "", depth: 0 }, ...this.#below("", 1)];
    this.#cursor = Math.min(this.#cursor, Math.max(0, this.#rows.length - 1));
    this.#list.show(this.#rows, { afresh: true });
    this.#box.classList.toggle("none", this.#rows.length === 0);
    this.#point();
  }

  #below(path, depth) {
    return (this.#children.get(path) ?? []).flatMap((child) => [
      { path: child, depth },
      ...(this.#open.has(child) ? this.#below(child, depth + 1) : []),
    ]);
  }

  #found() {
    const words = this.#sought.split(/\s+/);
    const fits = (path) => words.every((word) => path.toLowerCase().includes(word));
    const assets = [...this.#children.keys()].filter((path) => path && fits(leaf(path)));
    const tags = [...this.#plant.tags.keys()].filter(fits);
    return [...assets, ...tags].slice(0, FOUND_MAX).map((path) => ({ path, depth: 0, found: true }));
  }

  #row({ path, depth, found }) {
    const isAsset = this.#children.has(path);
    const open = isAsset && !found && this.#open.has(path);
    const alarms = this.#plant.rollUp(path);
    const row = h(
      "div",
      {
        class: `node ${isAsset ? "asset" : "leaf"}`,
        role: "treeitem",
        id: `node-${path}`,
        title: path,
        "data-path": path,
        "data-depth": depth,
        "aria-level": depth + 1,
        "aria-selected": String(path === this.#chosen),
        "aria-expanded": isAsset ? String(open) : null,
      },
      h("i", { class: isAsset && path && !found ? `chevron ${open ? "open" : ""}` : "chevron blank" }, icon("chevron")),
      h("span", { class: "name" }, this.#name(path, found)),
      this.#tail(path, isAsset, alarms),
    );
    row.style.paddingLeft = `${6 + 13 * depth}px`;
    return row;
  }

  #name(path, found) {
    if (!path) return "Whole plant";
    return found ? [leaf(path), h("small", {}, parent(path))] : leaf(path);
  }

  #tail(path, isAsset, alarms) {
    if (alarms)
      return h("span", { class: "tail" }, alarms.n > 1 ? String(alarms.n) : null, mark(alarms.worst.priority));
    return isAsset ? h("span", { class: "tail size" }, String(this.#leaves.get(path) ?? "")) : null;
  }

  #click(event) {
    const node = event.target.closest(".node");
    if (!node) return;
    this.#cursor = this.#rows.findIndex((row) => row.path === node.dataset.path);
    if (event.target.closest(".chevron:not(.blank)")) this.#turn(node.dataset.path);
    else this.#take(node.dataset.path);
  }

  #take(path) {
    const isAsset = this.#children.has(path);
    if (isAsset && path) this.#open.add(path);
    this.dispatchEvent(new CustomEvent(isAsset ? "choose" : "plot", { detail: path }));
    this.#show();
  }

  #turn(path, open = !this.#open.has(path)) {
    if (open) this.#open.add(path);
    else if (path) this.#open.delete(path);
    this.#show();
  }

  #key(event) {
    const row = this.#rows[this.#cursor];
    const act =
      row &&
      {
        ArrowDown: () => this.#move(1),
        ArrowUp: () => this.#move(-1),
        Home: () => this.#move(-Infinity),
        End: () => this.#move(Infinity),
        ArrowRight: () => this.#turn(row.path, true),
        ArrowLeft: () => this.#left(row.path),
        Enter: () => this.#take(row.path),
        " ": () => this.#take(row.path),
      }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #left(path) {
    if (this.#open.has(path) && path) return this.#turn(path, false);
    this.#cursor = Math.max(
      0,
      this.#rows.findIndex((row) => row.path === parent(path)),
    );
    this.#point();
  }

  #move(by) {
    this.#cursor = Math.min(this.#rows.length - 1, Math.max(0, this.#cursor + by));
    this.#list.reveal(this.#cursor);
    this.#point();
  }

  #point() {
    const path = this.#rows[this.#cursor]?.path;
    for (const key of this.#list.keys()) this.#list.element(key).classList.toggle("cursor", key === path);
    this.#box.setAttribute("aria-activedescendant", path == null ? "" : `node-${path}`);
  }
}
