// Every request to the plant, and its errors in words.

/** What went wrong, with what to do about it. */
export class Refusal extends Error {
  constructor(status, code, detail) {
    super(sentence(status, detail));
    Object.assign(this, { status, code });
  }
}

function sentence(status, detail) {
  const said = detail ? `${detail.replace(/\.$/, "")}. ` : "";
  if (status === 0) return "The plant does not answer. Check the network; this page tries again by itself.";
  if (status === 401) return `${said}Sign in again with a fresh link from \`penstock login\`, or with an API key.`;
  if (status === 403) return `${said}Your key does not allow this: ask an admin for the operator role.`;
  if (status === 404) return `${said || "It is not there any more. "}Reload the page to see what is.`;
  if (status === 409) return `${said || "Someone else was faster. "}The list now shows how it stands.`;
  if (status === 429) return "Too many requests with this key. The page slows down; wait a few seconds.";
  if (status === 503) return `${said}The plant is busy or its database is away. Nothing is lost; try again shortly.`;
  return `${said || `The plant answered ${status}. `}If it stays so, run \`penstock doctor\` on the plant's machine.`;
}

/** How far the plant's clock is ahead of this browser's, by the last answer; below 2 s it is the network's. */
export const clock = { aheadMs: 0 };
const SKEW_LEAST_MS = 2000;

/** The answer as JSON; throws Refusal. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) }).catch(lost);
  compare(answer.headers.get("Date"));
  if (!answer.ok) throw await refusal(answer);
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

function compare(date) {
  const ahead = date ? Date.parse(date) - Date.now() : 0;
  clock.aheadMs = Math.abs(ahead) < SKEW_LEAST_MS ? 0 : ahead;
}

function lost(error) {
  if (error.name === "AbortError") throw error;
  throw new Refusal(0, "unreachable");
}

async function refusal(answer) {
  const problem = await answer.json().catch(() => ({}));
  return new Refusal(answer.status, problem.code, problem.detail);
}

export const send = (path, body = {}) => ask(path, { method: "POST", body });

/** `/v1/x?tag=a&tag=b` from {tag: [a, b]}. */
export function url(path, query = {}) {
  const words = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one != null && one !== "") words.append(key, one);
  }
  return words.size ? `${path}?${words}` : path;
}

/** Every item of a list that pages; `each` sees a page as soon as it is here. */
export async function all(path, query, each, pagesMax = 200) {
  let cursor;
  for (let page = 0; page < pagesMax; page++) {
    const { items, next } = await ask(url(path, { ...query, cursor }));
    each(items);
    if (!next) return;
    cursor = next;
  }
}

const iso = (ms) => new Date(ms).toISOString();

const HOUR_MS = 3600000;

/**
 * One tag's course as columns {t, lo, hi, last, text, wide}: milliseconds and values, text for states.
 * `wide` is how long each lasts if that is longer than was asked for, else 0: of long ago the plant has hours only.
 */
export const series = async (...asked) => (await course(...asked)).series;

/**
 * The same as {series, archivedMs, expiredMs}: single readings of before `archivedMs` may be in the archive alone, of
 * before `expiredMs` nowhere any more; null: of none that were asked for.
 */
export async function course(tag, start, end, points, signal) {
  const answer = await ask(url("/v1/series", { tag, start: iso(start), end: iso(end), points }), { signal });
  const moment = (text) => (text ? Date.parse(text) : null);
  return {
    series: columns(answer, (end - start) / points),
    archivedMs: moment(answer.archived_before),
    expiredMs: moment(answer.expired_before),
  };
}

function columns({ items, bin_s: binS = 0, minutes_before: minutesBefore }, askedMs) {
  const time = (item) => Date.parse(item.ts);
  const floor = minutesBefore ? Date.parse(minutesBefore) : -Infinity;
  const widthOf = (ms) => (ms < floor ? Math.max(HOUR_MS, binS * 1000) : binS * 1000);
  const t = items.map(time);
  return {
    t,
    wide: t.map(widthOf).map((ms) => (ms > 1.5 * askedMs ? ms : 0)),
    lo: items.map((item) => item.min ?? item.last),
    hi: items.map((item) => item.max ?? item.last),
    last: items.map((item) => item.last ?? null),
    text: items.map((item) => item.state ?? null),
  };
}

export const anomalies = (tag, start, end) =>
  ask(url("/v1/anomalies", { tag, start: iso(start), end: iso(end), limit: 1000 }));

// A door with a fixed number of places, so that scrolling 10,000 tags never floods the plant.
const waiting = [];
let inside = 0;

/** Runs `work` when a place is free; the last asked goes first, for it is what the eye is on. */
export function inTurn(work, places = 4) {
  return new Promise((done, fail) => {
    waiting.push(() =>
      work()
        .then(done, fail)
        .finally(() => {
          inside--;
          next(places);
        }),
    );
    next(places);
  });
}

function next(places) {
  if (inside >= places || waiting.length === 0) return;
  inside++;
  waiting.pop()();
}
