// What ails the pipeline itself, in a band above everything: named, with why and the mend; no band when all is well.

import { beforePaint, find, h, icon, mark } from "./dom.js";
import { at, now, shardName, utc } from "./words.js";

const TITLES = {
  no_workers: "No workers",
  readings_lost_to_retention: "Readings lost to retention",
  retention_running_out: "Retention running out",
  shard_stuck: "Shard stuck",
  shard_unowned: "Shard without a worker",
};
const NAMED_MAX = 3;
const DAY_MS = 20 * 3600000; // beyond that, a time of day may be taken for today's
const MINUTE_LENGTH = 16;
const NARROW = "(max-width: 720px)";

export const titleOf = ({ name }) => TITLES[name] ?? capital(name.replaceAll("_", " "));

export class Conditions {
  #plant;
  #band = find("conditions");
  #shown = "";
  #chosen = new Map();

  constructor(plant) {
    this.#plant = plant;
    plant.addEventListener(
      "pipeline",
      beforePaint(() => this.show()),
    );
  }

  /** Drawn anew only when something changed: whoever reads or is read to is not disturbed. */
  show() {
    const conditions = this.#plant.conditions;
    const said = JSON.stringify(conditions.map((one) => ({ ...one, since: one.since?.slice(0, MINUTE_LENGTH) })));
    if (said !== this.#shown) this.#draw(grouped(conditions));
    this.#shown = said;
  }

  #draw(groups) {
    this.#band.hidden = groups.length === 0;
    const focused = document.activeElement?.closest?.(".condition")?.dataset.key;
    this.#band.replaceChildren(...groups.map((group, i) => this.#item(group, i, groups.length)));
    if (focused) this.#band.querySelector(`[data-key="${CSS.escape(focused)}"] summary`)?.focus();
    announce("conditions-alert", groups.filter(isCritical));
    announce("conditions-status", groups.filter((group) => !isCritical(group)));
  }

  #item(group, i, many) {
    const { key, severity, since, why, mend } = group;
    const open = this.#chosen.get(key) ?? (many === 1 || (i === 0 && !matchMedia(NARROW).matches));
    const item = h(
      "details",
      { class: `condition ${severity}`, "data-key": key, open },
      h(
        "summary",
        { onclick: () => this.#chosen.set(key, !item.open) },
        mark(severity, `${severity}:`),
        h("b", {}, titleOf(group)),
        h("span", { class: "where", title: group.shards.join("\n") }, where(group.shards)),
        h("span", { class: "brief" }, why),
        sinceWhen(since),
        h("span", { class: "chevron" }, icon("chevron")),
      ),
      h("div", { class: "words" }, h("p", {}, why), h("p", {}, h("b", {}, "What to do: "), ...marked(mend))),
    );
    return item;
  }
}

/** Conditions of one name and severity are one line, whichever shards they are of; the oldest speaks for all. */
function grouped(conditions) {
  const groups = new Map();
  for (const one of conditions) {
    const key = `${one.severity} ${one.name}`;
    const group = groups.get(key) ?? { ...one, key, shards: [] };
    if (one.shard) group.shards.push(one.shard);
    const older = one.since && (!group.since || one.since < group.since);
    groups.set(key, older ? { ...group, why: one.why, mend: one.mend, since: one.since } : group);
  }
  return [...groups.values()];
}

function where(shards) {
  const named = shards.slice(0, NAMED_MAX).map(shardName).join(", ");
  const more = shards.length - NAMED_MAX;
  return more > 0 ? `${named} and ${more} more` : named;
}

function sinceWhen(since) {
  if (!since) return h("time", {});
  const ms = Date.parse(since);
  const day = now() - ms > DAY_MS ? `${at(ms, "day")} ` : "";
  return h("time", { datetime: since, title: utc(ms) }, `since ${day}${at(ms, "minute")}`);
}

/** To whoever listens instead of looking; the same words are not said again. */
function announce(id, groups) {
  const words = groups
    .map((group) => `${capital(group.severity)}: ${[titleOf(group), where(group.shards)].filter(Boolean).join(", ")}. ${group.why}`)
    .join(" ");
  if (find(id).textContent !== words) find(id).textContent = words;
}

/** `words` between backticks as code. */
const marked = (text) => text.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
const isCritical = ({ severity }) => severity === "critical";
const capital = (word) => word[0].toUpperCase() + word.slice(1);
