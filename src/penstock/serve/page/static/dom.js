// Elements in a line each. Text is always a text node: nothing a sensor sends can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("p", {class: "note", onclick: f}, "text", child)`; null and false children are left out. */
export function h(name, props = {}, ...children) {
  return fill(document.createElement(name), props, children);
}

/** The same for SVG. */
export function s(name, props = {}, ...children) {
  return fill(document.createElementNS(SVG, name), props, children);
}

function fill(element, props, children) {
  for (const [key, value] of Object.entries(props)) setProp(element, key, value);
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

function setProp(element, key, value) {
  if (value == null || value === false) return;
  if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
  else element.setAttribute(key, value === true ? "" : value);
}

export const find = (id) => document.getElementById(id);

export const icon = (name) => s("svg", { class: "icon", "aria-hidden": "true" }, s("use", { href: `#i-${name}` }));

/** A priority as shape, letter and colour, so that no one has to tell red from green. */
export function mark(priority, title = `${priority} priority`) {
  return s("svg", { class: `pri ${priority}`, role: "img", "aria-label": title }, s("use", { href: `#p-${priority}` }));
}

/** Calls `draw` once before the next paint, however often it is asked. */
export function beforePaint(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

/** Calls `act` once things have been quiet for `ms`. */
export function whenQuiet(ms, act) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), ms);
  };
}

/** A canvas made as sharp as the screen; returns its context, cleared, in CSS pixels. */
export function sharp(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  const [w, tall] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== tall) [canvas.width, canvas.height] = [w, tall];
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

/** The theme's colours by their names in tokens.css, read afresh when the theme changes. */
export const colours = new Proxy(
  { read: new Map() },
  {
    get({ read }, name) {
      if (name === "forget") return () => read.clear();
      if (!read.has(name))
        read.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
      return read.get(name);
    },
  },
);
