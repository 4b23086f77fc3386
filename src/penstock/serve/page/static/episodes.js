// Anomalies as stretches of time, and the box that explains one.

import { h, mark } from "./dom.js";
import { at, test, utc } from "./words.js";

const ASIDE_PX = 14;
const ABOVE_PX = 20;
const MARGIN_PX = 4;

/** Edges, active and returned, as stretches: [{ms, untilMs, priority, test, value, because}]; null is still active. */
export function episodesOf(edges) {
  const found = [];
  const open = new Map();
  for (const edge of [...edges].sort((one, other) => Date.parse(one.ts) - Date.parse(other.ts))) {
    if (edge.active) begin(found, open, edge);
    else end(open, edge);
  }
  return found;
}

function begin(found, open, { ts, priority, test: name, value, because }) {
  if (open.has(name)) return;
  found.push({ ms: Date.parse(ts), untilMs: null, priority, test: name, value, because });
  open.set(name, found.at(-1));
}

function end(open, { ts, test: name }) {
  if (open.has(name)) open.get(name).untilMs = Date.parse(ts);
  open.delete(name);
}

/** Edges of alarms that were raised before *from* and are active still: no edge of theirs lies in the window. */
export const earlierEdges = (alarms, tag, from) =>
  [...alarms]
    .filter((alarm) => alarm.tag === tag && alarm.active && Date.parse(alarm.raised_at) < from)
    .map((alarm) => ({ ...alarm, ts: alarm.raised_at }));

/** The box beside the cursor. */
export class Tip {
  element = h("div", { class: "tip", hidden: true });

  hide() {
    this.element.hidden = true;
  }

  /** Explains an episode, at (x, y) of a room so wide. */
  show(episode, x, y, width) {
    const until = episode.untilMs ? `until ${at(episode.untilMs, "full")}` : "still active";
    this.element.hidden = false;
    this.element.replaceChildren(
      h(
        "p",
        { class: "kind" },
        mark(episode.priority),
        h("b", {}, test(episode.test)),
        h("span", {}, episode.priority),
      ),
      h("p", {}, episode.because),
      h("p", { class: "when", title: utc(episode.ms) }, `${at(episode.ms, "full")}, ${until}`),
    );
    const left = x > width / 2 ? x - this.element.offsetWidth - ASIDE_PX : x + ASIDE_PX;
    this.element.style.left = `${Math.max(MARGIN_PX, left)}px`;
    this.element.style.top = `${Math.max(MARGIN_PX, y - ABOVE_PX)}px`;
  }
}
