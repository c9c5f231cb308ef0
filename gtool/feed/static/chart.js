/** The chart: draws lines on a canvas, with an axis for all of them or one for each. Keeps nothing. */

const PADDING = 10; // px, between a lane's rim and its line
const LANE_GAP = 14;
const LEAST_LANE = 72;
const LEAST_HEIGHT = 320;
const AXIS_HEIGHT = 24;
const FONT = "12px system-ui, sans-serif";
const CLOCK_MINUTES = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const CLOCK_SECONDS = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });

/** Choose an axis for values: `step` is 1, 2 or 5 times a power of ten, `low` and `high` multiples of it. */
export function scale(low, high, most) {
  if (low === high) {
    const half = Math.abs(low) / 10 || 1;
    [low, high] = [low - half, high + half];
  }
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999) || rough || 1;
  return { low: Math.floor(low / step + 1e-9) * step, high: Math.ceil(high / step - 1e-9) * step, step };
}

/** Write a number that stands at an axis, with the digits that tell it from its neighbours. */
export function tickText(value, step) {
  if (Math.abs(value) < step / 1e6) return "0";
  const digits = Math.min(15, Math.max(1, Math.floor(Math.log10(Math.abs(value / step)) + 1e-9) + 2));
  const notation = Math.abs(value) < 1e-4 || Math.abs(value) >= 1e15 ? "scientific" : "compact";
  return new Intl.NumberFormat("en", { notation, maximumSignificantDigits: digits }).format(value);
}

/** Write a number that stands for itself: with three decimals, or four digits if it is small. */
export function valueText(value) {
  const size = Math.abs(value);
  if (size >= 1e15) return value.toExponential(3);
  const digits = size < 1 ? { maximumSignificantDigits: 4 } : { maximumFractionDigits: 3 };
  return size < 1e-6 && size > 0 ? value.toExponential(3) : value.toLocaleString("en", digits);
}

/**
 * Draw lines on a canvas, in each pixel that the screen has.
 *
 * `view` is what to show: {span, now, cursor, isOverlay, colours}. `span` and `now` are seconds, `cursor` the time that
 * the pointer is at, or null; with `isOverlay` all lines have one axis, else each its own lane. `colours` are {text,
 * grid, panel, lines}. Gives where the lines are: what timeAt() takes.
 */
export function draw(canvas, lines, view) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  fit(canvas, Math.round(width * ratio), Math.round(height * ratio));
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = FONT;
  const lanes = lanesOf(lines.visible, view, height - AXIS_HEIGHT);
  const plot = plotOf(context, lanes, width, view);
  drawTimes(context, plot, height, view);
  for (const lane of lanes) drawLane(context, lane, plot, view);
  if (view.cursor !== null) drawCursor(context, lanes, plot, height, view);
  return plot;
}

/** How high a canvas has to be for so many lines to be read. */
export function heightFor(count, isOverlay) {
  return Math.max(LEAST_HEIGHT, isOverlay ? 0 : count * (LEAST_LANE + LANE_GAP) + AXIS_HEIGHT);
}

/** Give the time at a place in what draw() has drawn; null beside it. */
export function timeAt({ left, right }, x, view) {
  return x >= left && x <= right ? view.now - (view.span * (right - x)) / (right - left) : null;
}

function fit(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width; // each assignment clears it
  if (canvas.height !== height) canvas.height = height;
}

/** Part the height: a lane has lines that share an axis. */
function lanesOf(lines, view, height) {
  const groups = view.isOverlay ? [lines] : lines.map((line) => [line]);
  const size = height / groups.length;
  return groups.map((group, number) => {
    const top = number * size + (number ? LANE_GAP / 2 : 2);
    const bottom = (number + 1) * size - (number < groups.length - 1 ? LANE_GAP / 2 : 0);
    const parts = group.map((line) => ({ line, points: line.within(view.span, view.now) }));
    return { top, bottom, parts, axis: axisOf(parts, bottom - top) };
  });
}

function axisOf(parts, height) {
  let [low, high] = [Infinity, -Infinity];
  for (const { points } of parts) {
    for (const point of points) {
      low = Math.min(low, point.min);
      high = Math.max(high, point.max);
    }
  }
  return low > high ? null : scale(low, high, Math.min(6, Math.floor(height / 34)));
}

function plotOf(context, lanes, width, view) {
  let widest = 24;
  for (const { axis } of lanes) {
    for (const value of ticksOf(axis)) widest = Math.max(widest, context.measureText(tickText(value, axis.step)).width);
  }
  const left = Math.ceil(widest / 8) * 8 + 10; // in steps, so that it doesn't wobble with each label
  const right = width - 10;
  return { left, right, x: (time) => right - ((view.now - time) / view.span) * (right - left) };
}

function ticksOf(axis) {
  if (!axis) return [];
  const count = Math.min(20, Math.round((axis.high - axis.low) / axis.step));
  return Array.from({ length: count + 1 }, (_, number) => axis.low + number * axis.step);
}

function yOf(lane, value) {
  const { low, high } = lane.axis;
  return lane.bottom - PADDING - ((value - low) / (high - low)) * (lane.bottom - lane.top - 2 * PADDING);
}

function drawTimes(context, plot, height, { now, span, colours }) {
  const most = (plot.right - plot.left) / 84;
  const step = [5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900].find((seconds) => span / seconds <= most) ?? 900;
  const format = step < 60 ? CLOCK_SECONDS : CLOCK_MINUTES;
  context.textBaseline = "alphabetic";
  for (let time = Math.ceil((now - span) / step) * step; time <= now; time += step) {
    const x = Math.round(plot.x(time)) + 0.5;
    stroke(context, colours.grid, [[x, 0], [x, height - AXIS_HEIGHT]]);
    const half = context.measureText(format.format(0)).width / 2;
    if (x - half < plot.left - 4 || x + half > plot.right + 8) continue;
    context.textAlign = "center";
    context.fillStyle = colours.text;
    context.fillText(format.format(time * 1000), x, height - 6);
  }
}

function drawLane(context, lane, plot, view) {
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const value of ticksOf(lane.axis)) {
    const y = Math.round(yOf(lane, value)) + 0.5;
    stroke(context, view.colours.grid, [[plot.left, y], [plot.right, y]]);
    context.fillStyle = view.colours.text;
    context.fillText(tickText(value, lane.axis.step), plot.left - 8, y);
  }
  context.save();
  context.beginPath();
  context.rect(plot.left, lane.top - LANE_GAP / 2, plot.right - plot.left + 6, lane.bottom - lane.top + LANE_GAP);
  context.clip();
  for (const { line, points } of lane.parts) drawLine(context, lane, line, points, plot, view);
  context.restore();
  if (!view.isOverlay) drawName(context, lane, plot, view);
}

function drawLine(context, lane, line, points, plot, view) {
  const colour = view.colours.lines[line.colour];
  for (const path of pathsOf(lane, points, plot)) {
    if (!view.isOverlay) fillBelow(context, colour, path, lane);
    stroke(context, colour, path, 1.75);
  }
  const last = points.at(-1);
  if (last) dot(context, colour, plot.x(last.time), yOf(lane, last.last), view);
}

/** Turn points into paths, one for each part of the line without a break. */
function pathsOf(lane, points, plot) {
  const paths = [];
  for (const point of points) {
    if (point.isStart || !paths.length) paths.push([]);
    const x = plot.x(point.time);
    const values = point.min === point.max ? [point.last] : [point.min, point.max, point.last];
    for (const value of values) paths.at(-1).push([x, yOf(lane, value)]);
  }
  return paths;
}

function fillBelow(context, colour, path, lane) {
  context.globalAlpha = 0.1;
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(path[0][0], lane.bottom - PADDING);
  for (const [x, y] of path) context.lineTo(x, y);
  context.lineTo(path.at(-1)[0], lane.bottom - PADDING);
  context.fill();
  context.globalAlpha = 1;
}

function stroke(context, colour, path, width = 1) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.beginPath();
  context.moveTo(...path[0]);
  for (const [x, y] of path) context.lineTo(x, y);
  context.stroke();
}

function dot(context, colour, x, y, { colours }) {
  context.beginPath();
  context.arc(x, y, 3.5, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  context.strokeStyle = colours.panel;
  context.lineWidth = 1.5;
  context.stroke();
}

function drawName(context, lane, plot, { colours }) {
  const { name, colour } = lane.parts[0].line;
  context.save();
  context.font = `600 ${FONT}`;
  context.textAlign = "left";
  context.textBaseline = "top";
  context.lineWidth = 4;
  context.strokeStyle = colours.panel; // a halo, to be read above the line
  context.strokeText(shorten(name), plot.left + 6, lane.top + 2);
  context.fillStyle = colours.lines[colour];
  context.fillText(shorten(name), plot.left + 6, lane.top + 2);
  context.restore();
}

const shorten = (name) => (name.length > 40 ? `${name.slice(0, 39)}…` : name);

function drawCursor(context, lanes, plot, height, view) {
  const x = plot.x(view.cursor);
  stroke(context, view.colours.text, [[x, 0], [x, height - AXIS_HEIGHT]]);
  drawCursorTime(context, x, plot, height, view);
  for (const lane of lanes) {
    for (const { line } of lane.parts) {
      const point = line.at(view.cursor, view.span, view.now);
      if (point) dot(context, view.colours.lines[line.colour], plot.x(point.time), yOf(lane, point.last), view);
    }
  }
}

function drawCursorTime(context, x, plot, height, { cursor, colours }) {
  const text = CLOCK_SECONDS.format(cursor * 1000);
  const half = context.measureText(text).width / 2 + 6;
  const middle = Math.min(Math.max(x, half), plot.right + 10 - half);
  context.fillStyle = colours.text;
  context.fillRect(middle - half, height - AXIS_HEIGHT + 3, 2 * half, AXIS_HEIGHT - 4);
  context.fillStyle = colours.panel;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, middle, height - AXIS_HEIGHT / 2 + 1);
}
