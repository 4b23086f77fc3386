// The stream's shards: who works on each, what waits in it, when something of it was last stored.

import { titleOf } from "./conditions.js";
import { beforePaint, h, mark } from "./dom.js";
import { at, count, now, shardName, span } from "./words.js";

const SHOWN_MAX = 24;
const SEVERITIES = ["critical", "high"];
const BEHIND_MIN_S = 1;

export class Shards {
  element = h("div", { class: "shards", hidden: true });
  #plant;
  #sum = h("span", { class: "hint" });
  #rows = h("tbody", {});
  #more = h("button", { class: "wordy", "aria-expanded": "false", onclick: () => this.#unfold() });
  #unfolded = false;

  constructor(plant) {
    this.#plant = plant;
    const head = (words, title) => h("th", { scope: "col", title }, words);
    this.element.append(
      h("div", { class: "line" }, h("h3", {}, "Shards"), this.#sum),
      h(
        "table",
        { "aria-label": "Shards" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            head("Shard"),
            head("Worker"),
            head("Waiting", "Readings not yet stored, and how old the next of them is"),
            head("Stored", "When something of it was last stored"),
            head("Epoch", "How often it changed hands"),
          ),
        ),
        this.#rows,
      ),
      this.#more,
    );
    plant.addEventListener(
      "pipeline",
      beforePaint(() => this.show()),
    );
  }

  show() {
    const { shards, conditions } = this.#plant;
    const troubles = byShard(conditions);
    const sorted = [...shards].sort((one, other) => rank(one, troubles) - rank(other, troubles) || byNeed(one, other));
    const shown = this.#unfolded ? sorted : sorted.slice(0, SHOWN_MAX);
    this.element.hidden = shards.length === 0;
    this.#sum.textContent = summed(shards);
    this.#rows.replaceChildren(...shown.map((shard) => row(shard, troubles.get(shard.shard))));
    this.#more.hidden = shards.length <= SHOWN_MAX;
    this.#more.textContent = this.#unfolded ? `Show the first ${SHOWN_MAX}` : `Show all ${shards.length} shards`;
  }

  #unfold() {
    this.#unfolded = !this.#unfolded;
    this.#more.setAttribute("aria-expanded", String(this.#unfolded));
    this.show();
  }
}

/** The worst condition of each shard: they come with the worst first. */
const byShard = (conditions) => new Map(conditions.toReversed().map((one) => [one.shard, one]));
const rank = ({ shard }, troubles) => (troubles.has(shard) ? SEVERITIES.indexOf(troubles.get(shard).severity) : 9);
const byNeed = (one, other) =>
  waits(other) - waits(one) || one.shard.localeCompare(other.shard, "en", { numeric: true });
/** What waits for less than a second is on its way. */
const waits = ({ behind_s: behind }) => (behind > BEHIND_MIN_S ? behind : 0);

function summed(shards) {
  const owners = new Set(shards.filter(({ held, owner }) => held && owner).map(({ owner }) => owner));
  const worked = owners.size ? `, ${count(owners.size, "worker")}` : "";
  return `${count(shards.length, "shard")}${worked}`;
}

function row(shard, trouble) {
  const stored = shard.last_commit && Date.parse(shard.last_commit);
  return h(
    "tr",
    { class: trouble ? `troubled ${trouble.severity}` : "", "data-shard": shard.shard },
    h(
      "th",
      { scope: "row", title: `${shard.shard}${shard.lane ? `, ${shard.lane} lane` : ""}` },
      h("div", {}, trouble && mark(trouble.severity, `${trouble.severity}: ${titleOf(trouble)}`), shardName(shard.shard)),
    ),
    h("td", { title: shard.owner ?? "", class: shard.held ? "" : "nobody" }, worker(shard)),
    h("td", {}, waiting(shard)),
    h("td", { title: stored ? at(stored, "full") : "" }, stored ? span(now() - stored) : "–"),
    h("td", {}, String(shard.epoch)),
  );
}

/** `host pid start`: the host is what a person knows. */
function worker({ held, owner }) {
  if (!held) return "nobody";
  return owner ? owner.split(/[ .]/)[0] : "held";
}

function waiting(shard) {
  const age = waits(shard) ? span(1000 * shard.behind_s) : "";
  const n = shard.lag ? shard.lag.toLocaleString("en-GB", { notation: "compact", maximumFractionDigits: 1 }) : "";
  return [n, age].filter(Boolean).join(" · ") || "–";
}
