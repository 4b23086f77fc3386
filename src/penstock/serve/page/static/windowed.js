// A list of any length of which only what can be seen exists: 10,000 tags cost as much as 20.

import { beforePaint, h } from "./dom.js";

const MARGIN_ROWS = 4;

/** `tallOf(item)` gives a row's height in px, `keyOf` its identity, `make` its element; `onSeen` what shows. */
export class Windowed {
  #box;
  #tallOf;
  #keyOf;
  #make;
  #onSeen;
  #items = [];
  #tops = [0];
  #shown = new Map();
  #sheet = h("div", { class: "sheet" });

  constructor(box, { tallOf, keyOf, make, onSeen = () => {} }) {
    [this.#box, this.#tallOf, this.#keyOf, this.#make, this.#onSeen] = [box, tallOf, keyOf, make, onSeen];
    box.append(this.#sheet);
    const paint = beforePaint(() => this.#paint());
    box.addEventListener("scroll", paint, { passive: true });
    new ResizeObserver(paint).observe(box);
  }

  /** Show these; with `afresh`, rows are made anew even where their item is the same. */
  show(items, { afresh = false } = {}) {
    this.#items = items;
    this.#tops = [0];
    for (const item of items) this.#tops.push(this.#tops.at(-1) + this.#tallOf(item));
    this.#sheet.style.height = `${this.#tops.at(-1)}px`;
    if (afresh) this.#clear();
    this.#paint();
  }

  /** The element that shows this key, if it can be seen. */
  element(key) {
    return this.#shown.get(key)?.element;
  }

  keys() {
    return [...this.#shown.keys()];
  }

  reveal(index) {
    const [top, bottom] = [this.#tops[index], this.#tops[index + 1]];
    if (top < this.#box.scrollTop) this.#box.scrollTop = top;
    else if (bottom > this.#box.scrollTop + this.#box.clientHeight)
      this.#box.scrollTop = bottom - this.#box.clientHeight;
    this.#paint();
  }

  #clear() {
    for (const { element } of this.#shown.values()) element.remove();
    this.#shown.clear();
  }

  #paint() {
    const from = Math.max(0, this.#at(this.#box.scrollTop) - MARGIN_ROWS);
    const to = Math.min(this.#items.length, this.#at(this.#box.scrollTop + this.#box.clientHeight) + 1 + MARGIN_ROWS);
    const wanted = new Map();
    for (let index = from; index < to; index++) wanted.set(this.#keyOf(this.#items[index]), index);
    for (const [key, { element }] of this.#shown)
      if (!wanted.has(key)) {
        element.remove();
        this.#shown.delete(key);
      }
    for (const [key, index] of wanted) this.#place(key, index);
    this.#onSeen([...wanted.values()].map((index) => this.#items[index]));
  }

  #place(key, index) {
    let row = this.#shown.get(key);
    if (!row) {
      row = { element: this.#make(this.#items[index]) };
      this.#shown.set(key, row);
      this.#sheet.append(row.element);
    }
    row.element.style.transform = `translateY(${this.#tops[index]}px)`;
    row.element.style.height = `${this.#tops[index + 1] - this.#tops[index]}px`;
  }

  /** The index of the row at `y`, by halving. */
  #at(y) {
    let [low, high] = [0, this.#items.length];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#tops[middle] <= y) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
