// Where single readings are that have left the database: a dotted line in the chart, and the same in words below it.

import { colours, h } from "./dom.js";
import { at, now } from "./words.js";

const LABELS = ["single readings before this are in the archive", "single readings archived", "archived"];
const ROOM_PX = 8;
const ROW_PX = 16;
const HALO_PX = 4;
const YEAR_MS = 360 * 86400000;

/** Whether a lane shows anything of before its floor. */
export const isArchived = ({ archivedMs, from }) => archivedMs != null && archivedMs > from;

/** Over what is drawn of a lane; `labelled` lanes say what the line is, if there is room beside it. */
export function drawFloor(plot, lane) {
  if (!isArchived(lane) || lane.archivedMs >= lane.to) return;
  const px = Math.round(plot.x(lane.archivedMs)) + 0.5;
  dots(plot, px);
  if (lane.labelled) sayFloor(plot, lane, px);
}

function dots({ pen, height }, px) {
  pen.beginPath();
  pen.moveTo(px, 1);
  pen.lineTo(px, height - 1);
  [pen.strokeStyle, pen.lineWidth, pen.globalAlpha] = [colours.panel, 3, 0.6];
  pen.stroke();
  [pen.strokeStyle, pen.lineWidth, pen.globalAlpha] = [colours["ink-3"], 1.5, 1];
  pen.lineCap = "round";
  pen.setLineDash([0.1, 4]);
  pen.stroke();
  pen.setLineDash([]);
  [pen.lineWidth, pen.lineCap] = [1, "butt"];
}

/** On the side that it speaks of; on the other where that is too narrow, with an arrow back. */
function sayFloor(plot, lane, px) {
  const { pen, left, right } = plot;
  for (const label of LABELS) {
    const [before, after] = [label, `← ${label}`].map((text) => pen.measureText(text).width + ROOM_PX);
    if (px - before - ROOM_PX > left) return haloed(pen, label, px - before, freeRow(plot, lane, px - before, px));
    if (px + after < right) return haloed(pen, `← ${label}`, px + ROOM_PX, freeRow(plot, lane, px, px + after));
  }
}

/** The uppermost row between x0 and x1 that neither a limit nor the course runs through. */
function freeRow({ x, y, top, bottom }, { series, limits }, x0, x1) {
  const lines = Object.values(limits).filter((limit) => limit != null).map((limit) => [y(limit), y(limit)]);
  const taken = [...lines, reachOf(series, x, y, x0, x1)];
  const isFree = (row) => taken.every(([upper, lower]) => row + ROW_PX / 2 < upper || row - ROW_PX / 2 > lower);
  for (let row = top + ROW_PX / 2; row <= bottom - ROW_PX / 2; row += 4) if (isFree(row)) return row;
  return top + ROW_PX / 2;
}

/** From where to where the course reaches between x0 and x1: its points there, and the next to either side. */
function reachOf({ t, lo, hi }, x, y, x0, x1) {
  const first = Math.max(0, t.findIndex((ms) => x(ms) > x0) - 1);
  const last = t.findLastIndex((ms) => x(ms) < x1) + 2;
  const seen = (column) => column.slice(first, last).filter((value) => value != null);
  return [Math.min(...seen(hi).map(y)), Math.max(...seen(lo).map(y))];
}

function haloed(pen, text, x, y) {
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  pen.lineWidth = HALO_PX;
  pen.strokeStyle = colours.panel;
  pen.globalAlpha = 0.75;
  pen.strokeText(text, x, y);
  pen.globalAlpha = pen.lineWidth = 1;
  pen.fillStyle = colours["ink-2"];
  pen.fillText(text, x, y);
}

/** The sentence below the chart: [text, the archive's address], or nothing where no lane shows what was archived. */
export function floorNote(lanes, place) {
  const archived = lanes.filter(isArchived);
  if (archived.length === 0) return [];
  const floors = new Set(archived.map(({ archivedMs }) => archivedMs));
  const before = floors.size === 1 ? `Before ${when([...floors][0])}` : "Left of the dotted lines";
  const said = `${before} only rollups are here; the single readings are in the archive${expiry(archived)}`;
  return place ? [`${said}: `, h("code", {}, place)] : [`${said}.`];
}

function expiry(lanes) {
  const expired = lanes.filter(({ expiredMs, from }) => expiredMs != null && expiredMs > from);
  const floor = Math.max(...expired.map(({ expiredMs }) => expiredMs));
  return expired.length ? `, but those from before ${when(floor)} may have expired` : "";
}

/** For who hears a lane instead of seeing it. */
export const saidFloor = (lane) => (isArchived(lane) ? `, only rollups before ${when(lane.archivedMs)}` : "");

/** The same of a value under the cursor. */
export const cursorNote = ({ archivedMs, cursorMs }) => (cursorMs < archivedMs ? ", from rollups" : "");

const when = (ms) => `${at(ms, "day")}${now() - ms > YEAR_MS ? ` ${new Date(ms).getFullYear()}` : ""}, ${at(ms, "minute")}`;
