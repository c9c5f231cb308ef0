/** The page's place on the site: its URLs, which are relative, its user, and requests that answer in JSON. */

import { webSocket } from "./live.js";
import { eventStream, longPoll } from "./transports.js";

const ANSWER_MS = 10_000;

const { root, user = "", room = "", cursor = "" } = document.body.dataset;

export { cursor, room, user };

/** Give the URL of a path of the site's. */
export function at(path, query = []) {
  const url = new URL(root + path, location.href);
  url.search = new URLSearchParams(query);
  return url;
}

/** Give the URL of the user's page of a room. */
export const roomPage = (name) => at([name, user].map(encodeURIComponent).join("/")).href;

export const roomPath = (name) => `api/rooms/${encodeURIComponent(name)}`;

/** Why a request is refused: `status` is the server's, `sentence` what it says, `retryAfterMs` when to come again. */
export class Refused extends Error {
  constructor(status, sentence, retryAfterMs) {
    super(sentence);
    Object.assign(this, { status, sentence, retryAfterMs });
  }
}

/** Say what is wrong, to the user. */
export const sentenceOf = (error) => error.sentence ?? "The server can’t be reached.";

/** Give the JSON of an answer. Refused; any other error is that there was no answer. */
export async function get(path, query = []) {
  return jsonOf(await fetch(at(path, query), { signal: AbortSignal.timeout(ANSWER_MS) }));
}

/** Post JSON, and give the JSON of the answer, if it has any; fails as get() does. */
export async function post(path, fields, headers = {}) {
  const init = { method: "POST", body: JSON.stringify(fields), signal: AbortSignal.timeout(ANSWER_MS) };
  return jsonOf(await fetch(at(path), { ...init, headers: { "Content-Type": "application/json", ...headers } }));
}

async function jsonOf(answer) {
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const text = await answer.text();
  const retryAfterMs = 1000 * (Number(answer.headers.get("Retry-After")) || 1);
  throw new Refused(answer.status, errorIn(text) || answer.statusText, retryAfterMs);
}

function errorIn(text) {
  try {
    return String(JSON.parse(text).error);
  } catch {
    return text.trim();
  }
}

/** The ways to all messages of all rooms, the best first. Who reads them is in `room`. */
export function transports(rooms) {
  const query = [["as", user], ...(room ? [["in", room]] : [])];
  const socket = at("api/ws", query);
  socket.protocol = socket.protocol.replace("http", "ws");
  const fields = rooms.map((name) => ["room", name]);
  const poll = longPoll(at(`poll/${encodeURIComponent(user)}`), [...fields, ...query.slice(1)], whoIsHere);
  const events = eventStream(at("api/stream", query), ["cursor", "presence", "recovered", "typing"], room !== "");
  return [webSocket(socket), events, poll];
}

export const TRANSPORTS = ["websocket", "events", "poll"]; // what they are called, in that order

async function whoIsHere() {
  if (!room) return {};
  const { rooms, counts } = await get("api/presence", [["room", room]]);
  return { presence: { room, users: rooms[room], count: counts[room] } };
}

/** Say why there is no connection, as live() asks for it. */
export async function check() {
  const health = await fetch(at("healthz"), { signal: AbortSignal.timeout(ANSWER_MS) });
  if (!health.ok) return health.text();
  try {
    const { names } = await get("api/session");
    return names.includes(user) ? "" : `You are ${user} no more here.`;
  } catch (error) {
    return error.sentence ?? null;
  }
}
