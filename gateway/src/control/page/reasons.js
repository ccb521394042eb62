// Why requests are refused and connections end, and in which colours that is drawn.

// The colour that a reason has, unless another one that is shown has it already. What ends as it
// should is cool, what breaks is warm.
const COLOURS = {
  peer_closed: 1, peer_left: 4, done: 7, handler: 2, admin: 2, drain: 8, lost: 3, ping_timeout: 5,
  stalled: 6, slow_peer: 6, too_late: 5, protocol_error: 3, too_big: 6, not_allowed: 5,
  no_memory: 6, no_room: 3, failed: 6, over_rate: 3, lifetime: 7, idle: 4, silent: 5,
  full: 6, bad_request: 5, head_too_large: 2, head_timeout: 3, not_upgrade: 8, bad_handshake: 7,
  forbidden: 5, not_found: 4, method_not_allowed: 1, decision_timeout: 3, tls: 7,
  network: 3, listener_network: 1, origin: 2, token: 8, password: 8, certificate: 1,
  token_expired: 4, route_gone: 6, token_revoked: 1,
  gateway_full: 6, listener_full: 3, route_full: 4, address_full: 5, user_full: 2,
  listener_rate: 8, address_rate: 7, memory: 6,
};

const COLOURS_ALL = [1, 2, 3, 4, 5, 6, 7, 8];
const SHOWN_MAX = 8;

// What they mean, for people, by what is counted by them: a word may be a reason of both.
const MEANINGS = {
  ends: {
    done: "all was done that it was for",
    peer_closed: "the client closed it",
    peer_left: "the client left without a word",
    lost: "the network or the client broke it",
    ping_timeout: "the client did not answer a ping",
    stalled: "the client took nothing of what waited for it",
    protocol_error: "the client broke the protocol",
    too_big: "a message was larger than may be",
    too_late: "a message was not whole in time",
    slow_peer: "the client did not keep up",
    no_memory: "the shard had no memory for what was sent",
    no_room: "there was no room for what it wants",
    not_allowed: "the client did what it may not",
    failed: "what serves it has failed",
    handler: "its handler ended it",
    admin: "somebody ended it by the admin address",
    drain: "the gateway let it go",
    token_expired: "the token that it was let in by has expired",
    token_revoked: "the token that it was let in by was taken back",
    route_gone: "a change of the configuration has taken its route away",
    over_rate: "the client sent more than it may",
    lifetime: "it was open for as long as it may be",
    idle: "the client sent no message for too long",
    silent: "the client's first message did not come in time",
  },
  refusals: {
    bad_request: "the request is malformed",
    head_too_large: "the request head is too large",
    head_timeout: "the request head did not come in time",
    not_upgrade: "plain HTTP for what is WebSocket alone",
    bad_handshake: "the handshake is not as RFC 6455 has it",
    forbidden: "who asks may not enter",
    not_found: "nothing is served at that path",
    method_not_allowed: "the method is not known there",
    decision_timeout: "it was not decided in time",
    full: "there is no room",
    handler: "its handler refused it, with an answer of its own",
    tls: "the client spoke TLS, and the listener is plain",
    network: "clients from its network may not come there",
    listener_network: "clients from its network may not come to that listener",
    origin: "pages of another origin may not connect there",
    token: "there is no token, or it is not good",
    password: "there is no password, or it is not good",
    certificate: "the client has shown no certificate",
    gateway_full: "as many connections were open as may be",
    listener_full: "as many were open of its listener as may be",
    route_full: "as many were open at its path as may be",
    address_full: "as many were open from its address as may be",
    user_full: "as many were open of its user as may be",
    listener_rate: "too many came to its listener at once",
    address_rate: "too many came from its address at once",
    memory: "memory was short",
  },
};

// Why connections end, as the gateway has it.
export const ENDS = Object.keys(MEANINGS.ends);

const PLAIN = new Set([
  "done", "peer_closed", "peer_left", "handler", "admin", "drain", "token_expired",
  "token_revoked", "route_gone", "lifetime", "idle",
]);

// Whether something went wrong with a connection that ended so.
export const isFailure = (reason) => !PLAIN.has(reason);

// `key` is "ends" or "refusals".
export const meaning = (key, reason) => MEANINGS[key][reason] ?? "";

// Adds up by reason: `[{ reason, total }]`, the most first.
export function totals(stretches, key) {
  const sums = new Map();
  for (const stretch of stretches) {
    for (const [reason, number] of Object.entries(stretch[key] ?? {})) {
      if (Number.isFinite(number)) sums.set(reason, (sums.get(reason) ?? 0) + number);
    }
  }
  const found = [...sums].map(([reason, total]) => ({ reason, total }));
  found.sort((one, other) => other.total - one.total || (one.reason < other.reason ? -1 : 1));
  return found;
}

// The same as the lines that a chart draws, each with a colour of its own. Of very many the rest
// are one line.
export function series(stretches, key) {
  const found = totals(stretches, key);
  const shown = found.length > SHOWN_MAX ? found.slice(0, SHOWN_MAX - 1) : found;
  const free = new Set(COLOURS_ALL);
  const take = (wanted) => {
    const colour = free.has(wanted) ? wanted : [...free][0];
    free.delete(colour);
    return colour;
  };
  const drawn = [...shown].sort((one, other) => (one.reason < other.reason ? -1 : 1));
  const colours = new Map(drawn.map(({ reason }) => [reason, take(COLOURS[reason])]));
  const all = shown.map(({ reason, total }) => ({
    label: reason, hint: meaning(key, reason), colour: colours.get(reason), total,
    value: (stretch) => stretch[key]?.[reason] ?? 0,
  }));
  const rest = found.slice(shown.length);
  if (rest.length) {
    const sum = (stretch) =>
      rest.reduce((more, { reason }) => more + (stretch[key]?.[reason] ?? 0), 0);
    const total = rest.reduce((more, one) => more + one.total, 0);
    all.push({ label: "others", colour: take(8), total, value: sum });
  }
  return all;
}
