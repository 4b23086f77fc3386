// The pipeline, accounted for: rates, lag, and the balance that must leave nothing over.

import { ask, send, url } from "./api.js";
import { beforePaint, find, h } from "./dom.js";
import { orTell, tell } from "./notices.js";
import { Shards } from "./shards.js";
import { at, count, number, rate, span } from "./words.js";

const HELD_SHOWN = 50;
const MISSING = "received but in no place we know";
const SURPLUS = "more than were received";
const FATES = [
  ["stored", "stored"],
  ["duplicate", "duplicate"],
  ["conflict", "conflict"],
  ["quarantined", "quarantined"],
  ["in_flight", "in flight"],
];

export class Health {
  #plant;
  #failing;
  #rates;
  #balance;
  #held;
  #heldAt = null;
  #showsHeld = false;

  constructor(plant) {
    this.#plant = plant;
    this.#rates = h("dl", { class: "rates" });
    this.#balance = h("div", { class: "balance" });
    this.#held = h("div", { class: "held" });
    this.#failing = h("p", { class: "failing", role: "alert", hidden: true });
    find("health").append(
      h("header", {}, h("h2", {}, "Pipeline")),
      h("div", { class: "scroll" }, this.#failing, this.#rates, this.#balance, new Shards(plant).element, this.#held),
    );
    plant.addEventListener(
      "health",
      beforePaint(() => this.show()),
    );
  }

  show() {
    this.#sayFailing(this.#plant.health.failing ?? {});
    this.#sayRates(this.#plant.flows);
    if (this.#plant.balance) this.#sayBalance(this.#plant.balance);
  }

  #sayFailing(failing) {
    const parts = Object.entries(failing)
      .map(([part, why]) => `${part}: ${why}`)
      .join("; ");
    this.#failing.hidden = !parts;
    const words = parts && `${parts}. What was taken is kept and stored later; \`penstock doctor\` tells more.`;
    if (this.#failing.textContent !== words) this.#failing.textContent = words;
  }

  #sayRates({ received_per_s: taken, stored_per_s: stored, lag_s: lag }) {
    const figure = (label, value, unit, title) =>
      h("div", { title }, h("dt", {}, label), h("dd", {}, h("b", {}, value), h("span", {}, unit)));
    this.#rates.replaceChildren(
      figure("Received", rate(taken), "/s", "Readings made durable"),
      figure("Stored", rate(stored), "/s", "Readings committed"),
      figure("Lag", lagWords(lag), lag == null ? "" : lag < 1 ? "ms" : "s", "From durable to committed"),
    );
  }

  #sayBalance(balance) {
    const over = balance.unaccounted;
    this.#balance.classList.toggle("off", over !== 0);
    this.#balance.replaceChildren(
      h("div", { class: "sum" }, h("span", {}, "Received"), h("b", { id: "received" }, number0(balance.received))),
      ...FATES.map(([key, label]) =>
        h(
          "div",
          { class: `fate ${balance[key] ? "" : "zero"}` },
          h("span", {}, label),
          this.#bar(balance, key),
          h("b", {}, number0(balance[key])),
        ),
      ),
      h(
        "div",
        { class: "sum unaccounted" },
        h("span", {}, "Unaccounted for"),
        h("b", { id: "unaccounted" }, number0(over)),
      ),
      h("p", { class: "verdict" }, verdict(over)),
    );
    this.#sayHeld(balance.quarantined);
  }

  #bar(balance, key) {
    const share = balance.received ? Math.max(0, balance[key] / balance.received) : 0;
    const bar = h("i", { class: "share" }, h("i", {}));
    bar.firstChild.style.width = `${share && Math.max(1.5, 100 * share)}%`;
    return bar;
  }

  #sayHeld(quarantined) {
    if (quarantined === this.#heldAt) return;
    this.#heldAt = quarantined;
    if (!quarantined) return this.#held.replaceChildren();
    if (this.#showsHeld) return this.#listHeld();
    this.#held.replaceChildren(
      h(
        "button",
        {
          class: "wordy",
          onclick: () => {
            this.#showsHeld = true;
            this.#listHeld();
          },
        },
        `See the quarantine (${number0(quarantined)})`,
      ),
    );
  }

  async #listHeld() {
    const list = await orTell(() => ask(url("/v1/quarantine", { limit: HELD_SHOWN })));
    if (!list) return;
    this.#held.replaceChildren(
      h("h3", {}, "Quarantine"),
      list.items.length
        ? h(
            "ol",
            {},
            list.items.map((item) => this.#item(item)),
          )
        : h("p", { class: "hint" }, "All of it was sent again."),
    );
  }

  #item(item) {
    const redrive = h("button", { class: "wordy", onclick: () => this.#redrive(item, redrive) }, "Redrive");
    return h(
      "li",
      {},
      h(
        "div",
        {},
        h("b", {}, item.tag),
        h("p", {}, item.detail || item.reason),
        h("p", { class: "hint" }, `${item.reason} · ${at(Date.parse(item.at), "full")}`),
      ),
      item.redriven_at ? h("span", { class: "hint" }, "redriven") : redrive,
    );
  }

  async #redrive(item, button) {
    button.disabled = true;
    const done = await orTell(() => send(`/v1/quarantine/${item.id}/redrive`));
    button.disabled = false;
    if (done === undefined) return;
    tell(`Sent again: ${item.tag}. If it still breaks its contract it comes back here.`);
    this.#listHeld();
  }
}

const number0 = (value) => (value ?? 0).toLocaleString("en-GB");
const lagWords = (lag) =>
  lag == null ? "–" : lag < 1 ? String(Math.round(1000 * lag)) : lag < 100 ? lag.toFixed(1) : span(1000 * lag);
const verdict = (over) =>
  over === 0
    ? "Every reading received is accounted for."
    : `${count(Math.abs(over), "reading")} ${over > 0 ? MISSING : SURPLUS}. Run \`penstock doctor\`.`;
