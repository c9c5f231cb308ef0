/** The page of ws-feed: joins the connection, the chart and the list of messages, and shows it all once a frame. */

import { draw, heightFor, timeAt, valueText } from "./chart.js";
import { Lines, MOST_LINES, numbersIn } from "./lines.js";
import { live } from "./live.js";
import { MessageList, Rate, Summary } from "./messages.js";

const STATUS = { connected: "Connected", error: "Error", closed: "Closed" };
const REPLAY_MS = 1_000; // after which what comes is taken to be new
const TEXT_MS = 250; // between changes of numbers that stand in the page
const LABEL_MS = 10_000; // between changes of what a screen reader says of the chart
const REFUSED =
  "The server is there, but the WebSocket does not get through. A proxy in between has to pass on Upgrade and Host.";
const LOST = "Messages are missing here: they could not be recovered. The feed began anew, or keeps them no more.";

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const isStill = matchMedia("(prefers-reduced-motion: reduce)");
const number = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });

const list = new MessageList(page.log, page.messages);
const summary = new Summary(page.summary);
const rate = new Rate();
const lines = new Lines();
const counts = { total: 0, dropped: 0, held: 0 };
const view = { span: 60, now: 0, cursor: null, isOverlay: false, colours: coloursOf(document.documentElement) };
let shown = lines; // a copy while the page is paused
let plot = null; // where the lines were drawn last
let drawn = ""; // all that this drawing depended on
let ended = { reason: "", retryAt: 0 }; // how the last connection has
let isExplained = false; // why there is none, or there was one

/** The server's clock, as far as its messages tell: the one of a phone may be minutes off. */
const clock = {
  ahead: 0, // that ours is, in seconds
  openedAt: Infinity,
  isSure: false,

  opened() {
    this.openedAt = performance.now();
    this.isSure = false;
  },
  heard(time) {
    const ahead = Date.now() / 1000 - time; // or the message is old
    const isFirst = !this.isSure && performance.now() - this.openedAt > REPLAY_MS;
    if (ahead < this.ahead || isFirst) this.ahead = ahead;
    this.isSure ||= isFirst;
  },
  now() {
    return Date.now() / 1000 - this.ahead;
  },
};

const isPaused = () => shown !== lines;

// ---------------------------------------------------------------------------------------------------- the connection

function socketUrl() {
  const url = new URL(".", document.baseURI); // relative, so that any path of a proxy's will do
  url.protocol = url.protocol.replace("http", "ws");
  const token = new URLSearchParams(location.search).get("token");
  if (token !== null) url.searchParams.set("token", token);
  url.searchParams.set("envelope", "1");
  return url;
}

function showStatus(state, detail) {
  const text = STATUS[state];
  if (page.status.textContent !== text) page.status.textContent = text; // else it would be said again
  page.status.dataset.state = state;
  ended = detail;
  page.retry.hidden = state === "connected";
  if (state === "connected") clock.opened();
  else if (!isExplained) explain();
  isExplained = true;
}

/** Ask why the first connection has failed: a WebSocket is not told, but an HTTP request is. */
async function explain() {
  const url = new URL("latest", document.baseURI);
  url.search = socketUrl().search;
  const answer = await fetch(url).catch(() => null);
  if (answer) showNote(answer.ok ? REFUSED : `The server says: ${await answer.text()}`);
}

function takeMessage({ data, time = Date.now() / 1000 }) {
  counts.total += 1;
  clock.heard(time);
  rate.add(time);
  lines.add(time, numbersIn(data));
  if (isPaused()) counts.held += 1;
  list.add(time, data);
}

function takeNote(note) {
  if (note.dropped) {
    counts.dropped += note.dropped;
    missing(`${number.format(note.dropped)} messages were dropped here: they came faster than the page took them.`);
  } else if (note.recovered === false) {
    missing(LOST);
    showNote(LOST.replace(" here", ""));
  }
}

function missing(text) {
  lines.break();
  list.addGap(text);
}

function showNote(text) {
  page.note.hidden = false;
  page["note-text"].textContent = text;
}

// --------------------------------------------------------------------------------------------------------- each frame

/** Call a function as often as frames come, but at most each so many milliseconds. */
function every(period, call) {
  let calledAt = -Infinity;
  return (now) => {
    if (now - calledAt < period) return;
    calledAt = now;
    call(now);
  };
}

const showNumbers = every(TEXT_MS, (now) => {
  const perSecond = rate.at(clock.now());
  setText(page.rate, perSecond && perSecond < 100 ? perSecond.toFixed(1) : number.format(Math.round(perSecond)));
  setText(page.total, countText(counts.total));
  setText(page.dropped, countText(counts.dropped));
  page.dropped.classList.toggle("some", counts.dropped > 0);
  page.held.hidden = !isPaused();
  setText(page.held, `Paused: ${number.format(counts.held)} more`);
  if (ended.retryAt) showRetry();
  showLegend();
  summary.update(now, counts.total, perSecond);
});

function showLabel() {
  const parts = shown.visible.slice(0, 6).map((line) => `${line.name} is ${line.last}`);
  const span = view.span === 60 ? "minute" : `${view.span / 60} minutes`;
  page.chart.ariaLabel = `Line chart of the last ${span}: ${parts.join(", ") || "nothing yet"}`;
}

const refreshLabel = every(LABEL_MS, showLabel);

/** Draw the chart when a pixel of it would change, or each second for those who want little motion. */
function showChart() {
  if (!isPaused()) view.now = clock.now();
  const motion = isStill.matches ? 1 : view.span / (page.chart.clientWidth || 1);
  const { clientWidth, clientHeight } = page.chart;
  const hidden = shown.all.map((line) => line.isHidden);
  const { span, isOverlay, cursor, colours } = view;
  const frame = [Math.floor(view.now / motion), isPaused(), span, isOverlay, cursor, colours.text, hidden];
  const key = [...frame, clientWidth, clientHeight, window.devicePixelRatio].join();
  if (key === drawn) return;
  drawn = key;
  plot = draw(page.chart, shown, view);
}

function showFrame(now) {
  if (!isPaused()) list.render(now, rate.at(clock.now()));
  showNumbers(now);
  showChart();
  if (shown.all.length) refreshLabel(now);
  requestAnimationFrame(showFrame);
}

function showRetry() {
  const seconds = Math.max(0, Math.ceil((ended.retryAt - Date.now()) / 1000));
  const reason = ended.reason && `${ended.reason}: `;
  setText(page.reason, `${reason}next attempt ${seconds ? `in ${seconds} s` : "now"}`);
}

const countText = (count) => (count < 1e6 ? number : short).format(count);

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// --------------------------------------------------------------------------------------------------------- the legend

/** Have a button for each line, with its last value, or that at the pointer. */
function showLegend() {
  page.empty.hidden = shown.all.length > 0;
  page.refused.hidden = shown.refused.size === 0;
  setText(page.refused, `Not drawn, as there are too many: ${[...shown.refused].slice(0, 20).join(", ")}`);
  page.chart.parentElement.style.minHeight = `${heightFor(shown.visible.length, view.isOverlay)}px`;
  const buttons = [...page.legend.children];
  shown.all.forEach((line, index) => {
    const button = buttons[index] ?? page.legend.appendChild(newButton());
    showButton(button, line);
  });
  for (const button of buttons.slice(shown.all.length)) button.remove();
}

function newButton() {
  const button = document.createElement("button");
  button.type = "button";
  const [swatch, name, value] = ["i", "span", "span"].map((tag) => button.appendChild(document.createElement(tag)));
  [swatch.className, name.className, value.className] = ["swatch", "name", "value"];
  swatch.ariaHidden = value.ariaHidden = "true"; // the name is enough, and doesn't change under a reader
  button.addEventListener("click", () => toggle(button.dataset.name));
  return button;
}

function showButton(button, line) {
  const [swatch, name, value] = button.children;
  const point = view.cursor === null ? line : line.at(view.cursor, view.span, view.now);
  button.dataset.name = line.name;
  button.ariaPressed = String(!line.isHidden);
  swatch.style.backgroundColor = view.colours.lines[line.colour];
  setText(name, line.name);
  setText(value, point ? valueText(point.last) : "–");
}

function toggle(name) {
  for (const which of new Set([lines, shown])) {
    const line = which.get(name);
    if (line) line.isHidden = !line.isHidden;
  }
  showLegend();
}

// -------------------------------------------------------------------------------------------------------- the controls

function coloursOf(element) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const numbers = Array.from({ length: MOST_LINES }, (_, index) => colour(`line-${index}`));
  return { text: colour("muted"), grid: colour("grid"), panel: colour("panel"), lines: numbers };
}

function pause() {
  shown = isPaused() ? lines : lines.copy();
  view.now = clock.now();
  page.pause.textContent = isPaused() ? "Resume" : "Pause";
  document.body.classList.toggle("paused", isPaused());
  counts.held = 0;
}

function point(event) {
  view.cursor = plot && timeAt(plot, event.offsetX, view);
  showLegend();
}

page.windows.addEventListener("change", (event) => {
  view.span = Number(event.target.value);
  showLabel();
});
page.layout.addEventListener("change", (event) => (view.isOverlay = event.target.value === "overlay"));
page.pause.addEventListener("click", pause);
page.reconnect.addEventListener("click", () => connection.reconnect());
page["note-close"].addEventListener("click", () => (page.note.hidden = true));
page.chart.addEventListener("pointermove", point);
page.chart.addEventListener("pointerleave", () => (view.cursor = null));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  view.colours = coloursOf(document.documentElement);
});

page.address.textContent = location.host + new URL(".", document.baseURI).pathname.replace(/\/$/, "");
const connection = live(socketUrl(), { since: "all", onStatus: showStatus, onMessage: takeMessage, onNote: takeNote });
requestAnimationFrame(showFrame);
