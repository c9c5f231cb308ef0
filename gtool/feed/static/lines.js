/**
 * The numbers of a feed over time: what the chart draws. Knows no canvas.
 *
 * Memory is bounded whatever the rate: for each window a line keeps at most about BUCKETS points, each of which stands
 * for all values of its part of the window, by their least, greatest and last one.
 */

export const WINDOWS_S = [60, 300, 900];
export const MOST_LINES = 12; // colours that are still told apart
const BUCKETS = 600; // about a point a pixel
const MOST_DEPTH = 3; // of objects in objects
const MOST_REFUSED = 100;

/** Find the numeric fields of a message: [name, value] pairs. A bare number is called `value`. */
export function numbersIn(text) {
  if (!/^\s*[-{\d]/.test(text)) return []; // parsing is what costs most
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return [];
  }
  return typeof value === "object" ? [...fields(value, "", MOST_DEPTH)] : [["value", value]].filter(isFinite_);
}

function* fields(object, prefix, depth) {
  for (const [key, value] of Object.entries(object)) {
    const field = [prefix + key, value];
    if (isFinite_(field)) yield field;
    else if (depth > 1 && value && typeof value === "object" && !Array.isArray(value)) {
      yield* fields(value, `${prefix}${key}.`, depth - 1);
    }
  }
}

const isFinite_ = ([, value]) => Number.isFinite(value);

/** One field's values over time. `colour` is a number from 0. */
class Line {
  constructor(name, colour) {
    this.name = name;
    this.colour = colour;
    this.isHidden = false;
    this.last = NaN;
    this.lastTime = -Infinity;
    this.isBroken = false; // the next point is not connected with the last one
    this.points = new Map(WINDOWS_S.map((span) => [span, []]));
  }

  add(time, value) {
    this.last = value;
    this.lastTime = Math.max(time, this.lastTime); // a clock that was put back doesn't turn the line back
    for (const [span, points] of this.points) {
      this.#addPoint(points, span, value);
    }
    this.isBroken = false;
  }

  #addPoint(points, span, value) {
    const bucket = Math.floor((this.lastTime * BUCKETS) / span);
    const newest = points.at(-1);
    if (newest?.bucket === bucket && !this.isBroken) {
      Object.assign(newest, { time: this.lastTime, last: value });
      newest.min = Math.min(newest.min, value);
      newest.max = Math.max(newest.max, value);
      return;
    }
    points.push({ bucket, time: this.lastTime, min: value, max: value, last: value, isStart: this.isBroken });
    while (points.length > BUCKETS + 2 || points[0].time < this.lastTime - 2 * span) points.shift();
  }

  /** Give the points from `now - span` to `now`, and the one before them, from which the line comes. */
  within(span, now) {
    const points = this.points.get(span);
    const first = points.findIndex((point) => point.time >= now - span);
    return first < 0 ? [] : points.slice(Math.max(0, first - 1));
  }

  /** Give the newest point that is not after a time; nothing if there is none in the window. */
  at(time, span, now) {
    return this.within(span, now).findLast((point) => point.time <= time);
  }

  copy() {
    const points = new Map([...this.points].map(([span, of]) => [span, of.map((point) => ({ ...point }))]));
    return Object.assign(new Line(this.name, this.colour), this, { points });
  }
}

/** The lines of all fields, in the order in which they came. */
export class Lines {
  #lines = new Map();
  refused = new Set(); //: names of fields for which there is no colour left; bounded too

  get all() {
    return [...this.#lines.values()];
  }

  get visible() {
    return this.all.filter((line) => !line.isHidden);
  }

  get(name) {
    return this.#lines.get(name);
  }

  add(time, numbers) {
    for (const [name, value] of numbers) {
      (this.#lines.get(name) ?? this.#open(name, time))?.add(time, value);
    }
  }

  /** Don't connect what comes with what was: something in between is missing. */
  break() {
    for (const line of this.#lines.values()) line.isBroken = true;
  }

  /** Copy all, for a chart that stands still while the feed goes on. */
  copy() {
    const copy = new Lines();
    copy.refused = new Set(this.refused);
    for (const line of this.#lines.values()) copy.#lines.set(line.name, line.copy());
    return copy;
  }

  #open(name, time) {
    const colour = this.#freeColour(time);
    if (colour === undefined) {
      if (this.refused.size < MOST_REFUSED) this.refused.add(name);
      return undefined;
    }
    const line = new Line(name, colour);
    this.#lines.set(name, line);
    this.refused.delete(name);
    return line;
  }

  #freeColour(time) {
    if (this.#lines.size < MOST_LINES) return this.#lines.size;
    const silent = this.all.find((line) => line.lastTime < time - WINDOWS_S.at(-1)); // it has left the chart
    if (silent) this.#lines.delete(silent.name);
    return silent?.colour;
  }
}
