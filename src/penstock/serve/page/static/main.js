// The page's own composition: who is introduced to whom, and in what order things are asked for.

import { Refusal, ask, clock, series } from "./api.js";
import { Alarms, showCounts } from "./alarms.js";
import { Conditions } from "./conditions.js";
import { Courses } from "./course.js";
import { beforePaint, colours, find, whenQuiet } from "./dom.js";
import { Health } from "./health.js";
import { Live } from "./live.js";
import { orTell, tell } from "./notices.js";
import { Overview } from "./overview.js";
import { Plant, byUrgency } from "./plant.js";
import { signIn, signOut, takeToken, useToken } from "./signin.js";
import { startTheme } from "./theme.js";
import { Tree } from "./tree.js";
import { Trends } from "./trends.js";
import { at, keepTime, now, plantZone, utc } from "./words.js";

const FOLLOW_MAX = 100;
const FOLLOW_CHARACTERS = 6000;
const TAG_WORD = "&tag=";
const REVIVE_EVERY_MS = 5000;
const PATIENCE_MS = 2500;
const TAGS_EVERY_MS = 30000;
const TAGS_EVERY_EMPTY_MS = 2000;
const HEALTH_EVERY_MS = 5000;
const FIRST_PLOTS = 2;
const FIRST_POINTS = 60;
const HOUR_MS = 3600000;
const YOUNG_MS = 600000;
const YOUNG_RANGE = "5 min";
const LINK = {
  open: ["Live", "Connected"],
  waiting: ["Reconnecting", "The connection was lost; it comes back by itself"],
  refused: ["Not connected", "The plant refuses the connection; this page tries again"],
};

const plant = new Plant();
const live = new Live();
let tree, overview, trends;

async function start() {
  const look = startTheme(() => {
    colours.forget();
    overview?.redraw();
    trends?.draw();
  });
  find("theme").addEventListener("click", look);
  await enter(takeToken());
  furnish();
  document.body.dataset.stage = "ready";
  await fill();
}

/** Past the door: by token, by a cookie still good, or by key. */
async function enter(token) {
  let complaint = token === null ? "" : await useToken(token);
  for (;;) {
    try {
      return greet(...(await Promise.all([ask("/v1/plant"), ask("/v1/login")])));
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 401) complaint = error.message;
    }
    await signIn(complaint);
  }
}

function greet({ name, zone }, { name: who, role }) {
  keepTime(zone, clock.aheadMs);
  find("plant").textContent = name;
  find("zone").textContent = plantZone();
  find("who").textContent = who;
  find("who").title = role;
  find("signin").hidden = true;
}

function furnish() {
  const courses = new Courses(plant);
  overview = new Overview(plant, courses);
  tree = new Tree(plant);
  trends = new Trends(plant, courses);
  const alarms = new Alarms(plant);
  new Health(plant);
  new Conditions(plant);
  tree.addEventListener("choose", (event) => choose(event.detail));
  for (const room of [tree, overview]) room.addEventListener("plot", (event) => trends.toggle(event.detail));
  alarms.addEventListener("plot", (event) => visit(event.detail));
  trends.addEventListener("change", () => {
    overview.plotted = new Set(trends.tags);
    overview.refresh();
    remember();
    follow();
  });
  overview.addEventListener("seen", (event) => {
    seen = event.detail;
    follow();
  });
  plant.addEventListener(
    "alarms",
    beforePaint(() => showCounts(plant)),
  );
  listen();
  furnishBar();
  furnishViews();
}

function listen() {
  live.addEventListener("reading", ({ detail }) => plant.take(detail.items ?? [detail].flat()));
  live.addEventListener("alarm", ({ detail }) => (detail.items ?? [detail]).forEach((alarm) => plant.takeAlarm(alarm)));
  live.addEventListener("health", ({ detail }) => plant.takeHealth(detail));
  live.addEventListener("reset", () => {
    refresh();
    trends.load();
  });
  live.addEventListener("link", ({ detail }) => takeLink(detail));
  setInterval(() => live.revive(), REVIVE_EVERY_MS);
}

let doubt = 0;

/** A stream ends every quarter of an hour and comes back at once: only what lasts is worth a word. */
function takeLink(state) {
  clearTimeout(doubt);
  if (state === "waiting") doubt = setTimeout(() => showLink(state), PATIENCE_MS);
  else showLink(state);
}

function showLink(state) {
  const [words, title] = LINK[state];
  find("link").dataset.state = state;
  find("link").title = title;
  find("link").lastElementChild.textContent = words;
  if (state === "refused") checkDoor();
  if (state === "open") refresh();
}

/** Refused may mean that the cookie ran out: then the door is shown again. */
const checkDoor = whenQuiet(500, async () => {
  const problem = await ask("/v1/plant").then(
    () => null,
    (error) => error,
  );
  if (problem?.status !== 401) return;
  live.stop();
  await signIn("You were signed out: the session ended.");
  location.reload();
});

async function fill() {
  const from = new URLSearchParams(location.hash.slice(1));
  choose(from.get("asset") ?? "");
  await orTell(() => Promise.all([plant.loadTags(), plant.loadAlarms(), loadHealth()]));
  const asked = from.getAll("tag").filter((tag) => plant.tags.has(tag));
  const plots = asked.length ? asked : firstPlots();
  const range = from.get("range") ?? (await firstRange(plots[0]));
  if (trends.tags.length === 0) trends.set(plots, range); // whoever was quicker than the plant has chosen already
  plant.dispatchEvent(new CustomEvent("alarms"));
  plant.dispatchEvent(new CustomEvent("health"));
  follow();
  watchTags();
  setInterval(() => {
    if (!document.hidden) orTell(loadHealth);
  }, HEALTH_EVERY_MS);
}

const loadHealth = () => Promise.all([plant.loadBalance(), plant.loadPipeline()]);

/** With nothing chosen yet, what is in alarm is the best guess at what someone came for. */
function firstPlots() {
  const troubled = [...plant.alarms.values()].sort(byUrgency).map(({ tag }) => tag);
  return [...new Set([...troubled, ...plant.tags.keys()])].filter((tag) => plant.tags.has(tag)).slice(0, FIRST_PLOTS);
}

/** A plant that has only just begun is shown by its minutes, not squeezed into an hour's last pixels. */
async function firstRange(tag) {
  if (!tag) return YOUNG_RANGE;
  const hour = await orTell(() => series(tag, now() - HOUR_MS, now(), FIRST_POINTS));
  return hour?.t.length && now() - hour.t[0] < YOUNG_MS ? YOUNG_RANGE : null;
}

function watchTags() {
  setTimeout(
    async () => {
      const before = plant.tags.size;
      if (!document.hidden) await orTell(() => plant.loadTags());
      if (before === 0 && plant.tags.size) trends.set(firstPlots());
      watchTags();
    },
    plant.tags.size ? TAGS_EVERY_MS : TAGS_EVERY_EMPTY_MS,
  );
}

let seen = [];

/** Only what is on screen is asked for, and followed: 10,000 tags cost no more than these. */
const follow = whenQuiet(250, () => {
  const wanted = fitting([...new Set([...trends.tags, ...seen])]).sort();
  const unknown = wanted.filter((tag) => !plant.latest.has(tag));
  if (unknown.length) orTell(() => plant.loadLatest({ tag: unknown }));
  live.follow(wanted);
});

/** As many as a request's address carries. */
function fitting(tags) {
  let room = FOLLOW_CHARACTERS;
  return tags.slice(0, FOLLOW_MAX).filter((tag) => (room -= tag.length + TAG_WORD.length) > 0);
}

/** What happened while no stream was open is asked for: between the first answers and the stream, and after a loss. */
const refresh = whenQuiet(200, () => {
  const tags = fitting([...new Set([...trends.tags, ...seen])]);
  orTell(() => Promise.all([plant.loadAlarms(), tags.length && plant.loadLatest({ tag: tags })]));
});

function choose(asset) {
  tree.choose(asset);
  overview.show(asset);
  remember();
  if (innerWidth <= 1180) {
    toView("overview");
    drawer(false);
  }
}

/** From an alarm to its tag: into the trends, and its asset into view. */
function visit(tag) {
  if (!trends.tags.includes(tag)) trends.toggle(tag);
  choose(tag.slice(0, tag.lastIndexOf("/")));
  toView("trends");
}

const remember = whenQuiet(100, () => {
  const words = new URLSearchParams([
    ["asset", tree.chosen],
    ["range", trends.range],
    ...trends.tags.map((tag) => ["tag", tag]),
  ]);
  history.replaceState(null, "", `${location.pathname}#${words}`);
});

function furnishBar() {
  const tick = () => {
    find("clock").textContent = at(now());
    find("clock").title = `${at(now(), "day")}\n${utc(now())}`;
  };
  tick();
  setInterval(tick, 1000);
  find("leave").addEventListener("click", () => orTell(signOut));
  find("drawer").addEventListener("click", () => drawer(document.body.dataset.drawer !== "open"));
  find("counts").addEventListener("click", () => {
    toView("alarms");
    find("alarms").querySelector("button")?.focus();
  });
  document.addEventListener("keydown", shortcut);
  addEventListener("offline", () =>
    tell("This device is offline. Values age visibly until the network is back.", "wrong"),
  );
}

function shortcut(event) {
  if (event.key === "Escape") drawer(false);
  if (event.key !== "/" || event.target.closest("input, textarea, select, dialog")) return;
  event.preventDefault();
  drawer(true);
  toView("assets");
  find("search").focus();
}

function drawer(open) {
  document.body.dataset.drawer = open ? "open" : "";
  find("drawer").setAttribute("aria-expanded", String(open));
}

function furnishViews() {
  for (const button of find("views").children) button.addEventListener("click", () => toView(button.dataset.to));
  toView("overview");
}

function toView(view) {
  document.body.dataset.view = view;
  for (const button of find("views").children) button.toggleAttribute("aria-current", button.dataset.to === view);
}

start();
