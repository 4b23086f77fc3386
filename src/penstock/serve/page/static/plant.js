// What the page knows of the plant: tags, their latest readings, the open alarms, the pipeline's health.

import { all, ask, send, url } from "./api.js";
import { now, parent } from "./words.js";

const PAGE_SIZE = 1000;
const STALE_INTERVALS = 5;
const STALE_MIN_MS = 15000;
const STALE_UNKNOWN_MS = 60000;
const SHARE = 0.2;
const OPEN_STATES = ["unacknowledged", "acknowledged", "returned", "shelved", "suppressed"];
const ALARMS_PAGE = 500;
const ALARM_PAGES_MAX = 4;

export const PRIORITIES = ["critical", "high", "medium", "low"];
const RANK = Object.fromEntries(PRIORITIES.map((priority, rank) => [priority, rank]));

/** Events: `tags`, `readings` (Set of paths), `alarms`, `health`, `pipeline` (shards and conditions). */
export class Plant extends EventTarget {
  tags = new Map();
  latest = new Map();
  alarms = new Map();
  health = {};
  balance = null;
  shards = [];
  conditions = [];
  archivedIn = null;
  #flows = {};
  #countedAt = 0;
  #lag = null;
  #paces = new Map();
  #byAsset = new Map();

  async loadTags() {
    const before = this.tags.size;
    await all("/v1/tags", { limit: PAGE_SIZE }, (items) => {
      for (const tag of items) this.tags.set(tag.tag, tag);
      if (this.tags.size !== before) this.#say("tags");
    });
    return this.tags.size;
  }

  async loadLatest(query) {
    const { items } = await ask(url("/v1/latest", query));
    this.take(items);
  }

  async loadAlarms() {
    const open = new Map();
    const take = (items) => items.forEach((alarm) => open.set(alarm.id, alarm));
    await Promise.all(
      OPEN_STATES.map((state) => all("/v1/alarms", { state, limit: ALARMS_PAGE }, take, ALARM_PAGES_MAX)),
    );
    this.alarms = open;
    this.#regroup();
  }

  async loadBalance() {
    this.#count(await ask("/v1/balance"));
    this.#say("health");
  }

  async loadPipeline() {
    const { shards = [], conditions = [], archived_in: archivedIn = null } = await ask("/v1/plant");
    Object.assign(this, { shards, conditions, archivedIn });
    this.#say("pipeline");
  }

  /** What flows follows from two balances; what the plant's own `health` says of it comes first. */
  #count(balance) {
    const seconds = (performance.now() - this.#countedAt) / 1000;
    const flow = (key) => Math.max(0, balance[key] - this.balance[key]) / seconds;
    if (this.balance) this.#flows = { received_per_s: flow("received"), stored_per_s: flow("stored") };
    [this.balance, this.#countedAt] = [balance, performance.now()];
  }

  /** {received_per_s, stored_per_s, lag_s}: told by the plant, or as seen from here. */
  get flows() {
    return { ...this.#flows, ...this.health, lag_s: this.health.lag_s || this.#lag };
  }

  /** Readings as they come: an older one never replaces a newer. */
  take(readings) {
    const changed = new Set();
    for (const reading of readings) if (this.#keep(reading)) changed.add(reading.tag);
    if (changed.size) this.#say("readings", changed);
  }

  #keep(reading) {
    const ms = Date.parse(reading.ts);
    const held = this.latest.get(reading.tag);
    if (held && held.ms >= ms) return false;
    if (held) this.#pace(reading.tag, ms - held.ms);
    this.latest.set(reading.tag, { ...reading, ms });
    if (held && reading.stored_ts)
      this.#lag = Math.max(0, Date.parse(reading.stored_ts) - Date.parse(reading.received_ts)) / 1000;
    if (!this.tags.has(reading.tag)) this.#meet(reading);
    return true;
  }

  #meet({ tag, unit }) {
    this.tags.set(tag, { tag, unit });
    this.#say("tags");
  }

  #pace(tag, ms) {
    const before = this.#paces.get(tag) ?? ms;
    this.#paces.set(tag, before + SHARE * (ms - before));
  }

  takeAlarm(alarm) {
    if (isOpen(alarm)) this.alarms.set(alarm.id, alarm);
    else this.alarms.delete(alarm.id);
    this.#regroup();
  }

  takeHealth(health) {
    this.health = { ...this.health, ...health };
    if (health.balance) this.#count(health.balance);
    this.#say("health");
  }

  /** Acknowledge, shelve or unshelve; the plant's answer is what we show. */
  async decide(alarm, what, body) {
    const answer = await send(`/v1/alarms/${alarm.id}/${what}`, body);
    if (answer?.id) this.takeAlarm(answer);
    else await this.loadAlarms();
  }

  /** Milliseconds within which a next reading is due, as configured or as seen. */
  interval(path) {
    const told = this.tags.get(path)?.expected_interval_s;
    return told ? 1000 * told : this.#paces.get(path);
  }

  isStale(path) {
    const reading = this.latest.get(path);
    if (!reading) return false;
    const interval = this.interval(path);
    const due = interval ? Math.max(STALE_MIN_MS, STALE_INTERVALS * interval) : STALE_UNKNOWN_MS;
    return now() - reading.ms > due;
  }

  /** The most urgent open alarm that is neither shelved nor suppressed, of a tag. */
  worst(path) {
    return this.#byAsset.get(path)?.worst ?? null;
  }

  /** {worst, n} of an asset with all below it, or null. */
  rollUp(path) {
    return this.#byAsset.get(path) ?? null;
  }

  /** Open alarms that ask for someone, by priority. */
  counts() {
    const counts = Object.fromEntries(PRIORITIES.map((priority) => [priority, 0]));
    for (const alarm of this.alarms.values()) if (isHeard(alarm)) counts[alarm.priority]++;
    return counts;
  }

  #regroup() {
    this.#byAsset = new Map();
    for (const alarm of this.alarms.values()) if (isHeard(alarm)) this.#raise(alarm);
    this.#say("alarms");
  }

  #raise(alarm) {
    for (let path = alarm.tag; path; path = parent(path)) {
      const group = this.#byAsset.get(path) ?? { worst: alarm, n: 0 };
      if (urgency(alarm) < urgency(group.worst)) group.worst = alarm;
      group.n++;
      this.#byAsset.set(path, group);
    }
  }

  #say(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

export const isOpen = (alarm) => alarm.state !== "closed" && !alarm.closed_at;
export const isHeard = (alarm) => alarm.state !== "shelved" && alarm.state !== "suppressed";
export const isFresh = (alarm) => alarm.state === "unacknowledged" || alarm.state === "returned";

/** Lower is more urgent: fresh before seen, then priority. */
export function urgency(alarm) {
  return (isFresh(alarm) ? 0 : isHeard(alarm) ? 10 : 20) + RANK[alarm.priority];
}

/** Most urgent first, newest first among equals. */
export const byUrgency = (one, other) =>
  urgency(one) - urgency(other) || Date.parse(other.raised_at) - Date.parse(one.raised_at);
