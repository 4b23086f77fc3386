// How numbers, units, times and names are said.

let zone = "UTC";
let formats = {};
let skewMs = 0;

/** The plant's zone, and by how much its clock is ahead of this browser's. */
export function keepTime(plantZone, aheadMs) {
  skewMs = aheadMs;
  zone = isZone(plantZone) ? plantZone : "UTC";
  formats = {};
}

function isZone(name) {
  try {
    return Boolean(name && new Intl.DateTimeFormat("en", { timeZone: name }));
  } catch {
    return false;
  }
}

export const now = () => Date.now() + skewMs;
export const plantZone = () => zone;

const KINDS = {
  time: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
  minute: { hour: "2-digit", minute: "2-digit" },
  day: { weekday: "short", day: "numeric", month: "short" },
  full: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" },
  parts: { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" },
};

function format(kind) {
  return (formats[kind] ??= new Intl.DateTimeFormat("en-GB", { ...KINDS[kind], hourCycle: "h23", timeZone: zone }));
}

/** A moment (ms) in the plant's zone; kinds: time, minute, day, full. */
export const at = (ms, kind = "time") => format(kind).format(ms);

export const utc = (ms) => `${new Date(ms).toISOString().replace("T", " ").replace("Z", "")} UTC`;

/** Milliseconds by which the plant's wall clock is ahead of UTC at `ms`. */
export function zoneOffset(ms) {
  const part = Object.fromEntries(
    format("parts")
      .formatToParts(ms)
      .map(({ type, value }) => [type, Number(value)]),
  );
  const wall = Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
  return wall - Math.floor(ms / 1000) * 1000;
}

/** "4 s", "12 min", "3 h", "5 d". */
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** "3 readings", "1 reading". */
export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en-GB")} ${n === 1 ? one : many}`;

/** Four figures, and no jumping width. */
export function number(value, figures = 4) {
  if (value == null || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e7 || size < 1e-4)) return value.toExponential(2).replace("-", "−");
  const whole = size < 1 ? 1 : Math.floor(Math.log10(size)) + 1;
  const decimals = Math.min(4, Math.max(0, figures - whole));
  return value
    .toLocaleString("en-GB", { minimumFractionDigits: decimals, maximumFractionDigits: decimals })
    .replace("-", "−");
}

export const rate = (perSecond) =>
  perSecond == null ? "–" : perSecond.toLocaleString("en-GB", { maximumFractionDigits: perSecond < 10 ? 1 : 0 });

const UNITS = {
  Cel: "°C",
  "[degF]": "°F",
  K: "K",
  bar: "bar",
  "%": "%",
  1: "",
  "/min": "min⁻¹",
  "{rpm}": "rpm",
  "r/min": "rpm",
  "mm/s": "mm/s",
  "m/s2": "m/s²",
  "m3/h": "m³/h",
  "L/min": "L/min",
  A: "A",
  V: "V",
  W: "W",
  kW: "kW",
  Hz: "Hz",
  um: "µm",
};

/** A UCUM code as people write it. */
export const unit = (code) => (code ? (UNITS[code] ?? code.replace(/[{}[\]]/g, "")) : "");

export const leaf = (path) => path.slice(path.lastIndexOf("/") + 1);
/** The two nearest segments above a tag: what tells one press from another. */
export const nearby = (path) => parent(path).split("/").slice(-2).join(" / ");
export const parent = (path) => (path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "");

/** `shardId-000000000003` as people say it: shard 3; of the critical lane's own stream: critical 3. */
export const shardName = (name) => name.replace(/^(critical)?[^/]*?\/?shardId-0*(?=\d)/, (_, lane) => `${lane ?? "shard"} `);

const TESTS = {
  limit_hh: "High-high limit",
  limit_h: "High limit",
  limit_l: "Low limit",
  limit_ll: "Low-low limit",
  rate: "Rate of change",
  stuck: "Stuck",
  silence: "Silent",
  record: "Unusual",
};

export const test = (name) => TESTS[name] ?? name;
