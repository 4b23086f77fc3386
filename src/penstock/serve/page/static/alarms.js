// The alarm list: what asks for someone first, each with its reason, and what a person may do about it.

import { beforePaint, find, h, mark } from "./dom.js";
import { askFor, orTell, tell } from "./notices.js";
import { PRIORITIES, byUrgency, isFresh, isHeard } from "./plant.js";
import { at, leaf, nearby, now, number, span, test, unit, utc } from "./words.js";

const SHOWN_MAX = 200;
const H = 3600000;
const SHELVES = { "1 h": H, "8 h (a shift)": 8 * H, "24 h": 24 * H, "7 d": 168 * H };
const VIEWS = {
  open: ["Open", (alarm) => isHeard(alarm)],
  fresh: ["To acknowledge", (alarm) => isFresh(alarm) && isHeard(alarm)],
  shelved: ["Shelved", (alarm) => alarm.state === "shelved"],
};
const STATES = {
  unacknowledged: "Unacknowledged",
  acknowledged: "Acknowledged",
  returned: "Back to normal",
  shelved: "Shelved",
  suppressed: "Suppressed",
};

/** Events: `plot` (tag). */
export class Alarms extends EventTarget {
  #plant;
  #view = "open";
  #priority = "";
  #list;
  #pressed = false;
  #waits = false;
  #chips;
  #empty;
  #select;

  constructor(plant) {
    super();
    this.#plant = plant;
    this.#build();
    plant.addEventListener(
      "alarms",
      beforePaint(() => this.#show()),
    );
    setInterval(() => this.#age(), 1000);
  }

  #build() {
    this.#chips = h(
      "div",
      { class: "chips", role: "group", "aria-label": "Show" },
      Object.entries(VIEWS).map(([key, [label]]) =>
        h(
          "button",
          {
            "data-view": key,
            onclick: () => {
              this.#view = key;
              this.#show();
            },
          },
          label,
        ),
      ),
    );
    this.#select = h(
      "select",
      {
        "aria-label": "Priority",
        onchange: (event) => {
          this.#priority = event.target.value;
          this.#show();
        },
      },
      h("option", { value: "" }, "Any priority"),
      PRIORITIES.map((priority) => h("option", { value: priority }, capital(priority))),
    );
    this.#list = h("ol", { class: "scroll alarm-list", tabindex: "-1" });
    // what is pressed must still be there when it is let go, or the click is lost
    this.#list.addEventListener("pointerdown", () => (this.#pressed = true));
    for (const end of ["pointerup", "pointercancel", "blur"]) addEventListener(end, () => setTimeout(() => this.#letGo()));
    this.#empty = h("div", { class: "empty" });
    find("alarms").append(
      h("header", {}, h("h2", {}, "Alarms"), h("div", { class: "side" }, this.#select)),
      h("div", { class: "tools" }, this.#chips),
      this.#empty,
      this.#list,
    );
  }

  #letGo() {
    this.#pressed = false;
    if (this.#waits) this.#show();
  }

  #show() {
    this.#waits = this.#pressed;
    if (this.#waits) return;
    const alarms = [...this.#plant.alarms.values()].filter(this.#fits, this).sort(byUrgency);
    this.#sayCounts();
    this.#empty.hidden = alarms.length > 0;
    this.#empty.textContent = this.#nothing();
    const focused = document.activeElement?.closest?.("[data-alarm]")?.dataset.alarm;
    this.#list.replaceChildren(
      ...alarms.slice(0, SHOWN_MAX).map((alarm) => this.#item(alarm)),
      alarms.length > SHOWN_MAX
        ? h("li", { class: "more" }, `and ${alarms.length - SHOWN_MAX} more: narrow by priority`)
        : "",
    );
    if (focused) this.#list.querySelector(`[data-alarm="${CSS.escape(focused)}"] button`)?.focus();
    this.#age();
  }

  #fits(alarm) {
    return VIEWS[this.#view][1](alarm) && (!this.#priority || alarm.priority === this.#priority);
  }

  #nothing() {
    if (this.#plant.alarms.size === 0)
      return "No open alarms. When a limit is passed, a sensor sticks or falls silent, it stands here with its reason.";
    return { open: "Nothing asks for you now.", fresh: "Everything is acknowledged.", shelved: "Nothing is shelved." }[
      this.#view
    ];
  }

  #sayCounts() {
    const all = [...this.#plant.alarms.values()];
    for (const chip of this.#chips.children) {
      const [label, fits] = VIEWS[chip.dataset.view];
      const n = all.filter(fits).length;
      chip.replaceChildren(label, n ? h("span", { class: "n" }, String(n)) : "");
      chip.setAttribute("aria-pressed", String(chip.dataset.view === this.#view));
    }
  }

  #item(alarm) {
    const fresh = isFresh(alarm);
    return h(
      "li",
      { class: `alarm ${fresh ? "fresh" : ""} ${alarm.priority}`, "data-alarm": String(alarm.id) },
      h(
        "div",
        { class: "lead" },
        mark(alarm.priority),
        h(
          "button",
          {
            class: "tag",
            title: alarm.tag,
            onclick: () => this.dispatchEvent(new CustomEvent("plot", { detail: alarm.tag })),
          },
          h("b", {}, leaf(alarm.tag)),
          h("span", {}, nearby(alarm.tag)),
        ),
        h("time", {
          "data-ms": String(Date.parse(alarm.raised_at)),
          title: `${at(Date.parse(alarm.raised_at), "full")}\n${utc(Date.parse(alarm.raised_at))}`,
        }),
      ),
      h("p", { class: "because" }, alarm.because),
      h(
        "div",
        { class: "tail" },
        h("span", { class: "state", title: test(alarm.test) }, this.#facts(alarm)),
        ...this.#verbs(alarm, fresh),
      ),
    );
  }

  #facts(alarm) {
    const is = alarm.state === "returned" ? "after" : "at"; // the value is the one it was raised with
    const value = alarm.value == null ? "" : `${is} ${number(alarm.value)} ${unit(alarm.unit)}`;
    const until = alarm.shelved_until ? ` until ${at(Date.parse(alarm.shelved_until), "full")}` : "";
    const who = alarm.state === "acknowledged" && alarm.acknowledged_by ? ` by ${alarm.acknowledged_by}` : "";
    const often = alarm.occurrences > 1 ? ` · ${alarm.occurrences} times` : "";
    return [
      h("b", {}, (STATES[alarm.state] ?? alarm.state) + who + (alarm.state === "shelved" ? until : "")),
      `${value.trimEnd()}${often}`,
    ];
  }

  #verbs(alarm, fresh) {
    if (alarm.state === "shelved")
      return [h("button", { class: "wordy", onclick: () => this.#decide(alarm, "unshelve", {}) }, "Unshelve")];
    return [
      fresh && h("button", { class: "wordy strong", onclick: () => this.#acknowledge(alarm) }, "Acknowledge"),
      h("button", { class: "wordy", onclick: () => this.#shelve(alarm) }, "Shelve"),
    ];
  }

  async #acknowledge(alarm) {
    const given = await askFor(
      "Acknowledge alarm",
      alarm.because,
      [
        h(
          "label",
          {},
          "Note",
          h("textarea", {
            name: "note",
            rows: "3",
            maxlength: "500",
            placeholder: "What you saw or will do (optional)",
          }),
        ),
      ],
      "Acknowledge",
    );
    if (given) this.#decide(alarm, "ack", { note: given.note.trim() || null });
  }

  async #shelve(alarm) {
    const given = await askFor(
      "Shelve alarm",
      `${alarm.because} It stays silent until the time is up; what happens is still recorded.`,
      [
        h(
          "label",
          {},
          "For",
          h(
            "select",
            { name: "ms" },
            Object.entries(SHELVES).map(([label, ms]) => h("option", { value: String(ms) }, label)),
          ),
        ),
        h(
          "label",
          {},
          "Reason",
          h("input", {
            name: "reason",
            required: true,
            maxlength: "200",
            placeholder: "Why nobody needs to act on it",
          }),
        ),
      ],
      "Shelve",
    );
    if (given)
      this.#decide(alarm, "shelve", {
        until: new Date(now() + Number(given.ms)).toISOString(),
        reason: given.reason.trim(),
      });
  }

  async #decide(alarm, what, body) {
    const done = await orTell(async () => {
      await this.#plant.decide(alarm, what, body);
      return true;
    });
    if (done) tell({ ack: "Acknowledged", shelve: "Shelved", unshelve: "Unshelved" }[what] + `: ${leaf(alarm.tag)}`);
  }

  #age() {
    for (const time of this.#list.querySelectorAll("time")) time.textContent = span(now() - Number(time.dataset.ms));
  }
}

/** The counts in the bar: each priority by shape, letter and colour; grey and quiet at none. */
export function showCounts(plant) {
  const counts = plant.counts();
  const total = PRIORITIES.reduce((sum, priority) => sum + counts[priority], 0);
  find("counts").replaceChildren(
    ...PRIORITIES.map((priority) =>
      h(
        "button",
        {
          class: `count ${counts[priority] ? priority : "none"}`,
          "aria-label": `${counts[priority]} ${priority}`,
          "data-priority": priority,
        },
        mark(priority, ""),
        String(counts[priority]),
      ),
    ),
  );
  find("views-alarms").hidden = total === 0;
  find("views-alarms").textContent = String(total);
  document.title = `${total ? `(${total}) ` : ""}${find("plant").textContent}`;
}

const capital = (word) => word[0].toUpperCase() + word.slice(1);
