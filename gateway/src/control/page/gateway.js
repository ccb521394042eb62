// What is known of the gateway: its overview, its configuration, and what was counted of late.

import { ask } from "./api.js";
import { listOf } from "./dom.js";
import { isNumber } from "./format.js";

const SAMPLES_MAX = 61;           // of a second each: rates are those of a minute

let samples = [];                 // { at, sums, shards: Map of index to counters }, oldest first
let startedAt;

export const gateway = {
  overview: {},
  config: {},
  // By its clock, which need not be that of whoever looks.
  now: Date.now(),
};

// Asks how the gateway is; and what it runs with, if that is not known or it is another process.
export async function askOverview() {
  const overview = await ask("v1/overview");
  gateway.overview = overview;
  const isNew = take(overview);
  if (isNew || gateway.config.version === undefined) await askConfig();
  return overview;
}

async function askConfig() {
  try {
    gateway.config = await ask("v1/config");
  } catch (error) {
    // What is there without it is shown without it.
    gateway.config = { error };
  }
}

// Counts what an overview tells; returns whether it is of another process than the one before.
function take(overview) {
  const sample = sampleOf(overview);
  gateway.now = sample.at;
  const newest = samples.at(-1);
  // A clock that is only slewed moves the start by a second at times.
  const isNew = Math.abs(overview.started_at - startedAt) > 1;
  if (isNew || (newest && sample.at < newest.at)) samples = [];
  startedAt = overview.started_at;
  if (newest?.at === sample.at) return isNew;
  // Shards are many, and only the newest two are compared.
  if (samples.length > 1) samples.at(-2).shards = new Map();
  samples.push(sample);
  if (samples.length > SAMPLES_MAX) samples.shift();
  return isNew;
}

function sampleOf(overview) {
  const [shards, sums] = [new Map(), {}];
  listOf(overview.shards).forEach((shard, at) => {
    const counters = {};
    const refusals = Object.values(shard.refusals ?? {}).filter(isNumber);
    const counted = {
      ...shard.counters, loop_nanoseconds: shard.loop_nanoseconds,
      refusals: refusals.reduce((sum, one) => sum + one, 0),
    };
    for (const [name, value] of Object.entries(counted)) {
      if (!isNumber(value)) continue;
      counters[name] = value;
      sums[name] = (sums[name] ?? 0) + value;
    }
    shards.set(isNumber(shard.shard) ? shard.shard : at, counters);
  });
  return { at: isNumber(overview.now) ? overview.now : Date.now(), sums, shards };
}

// What all shards have counted, together.
export const sums = () => samples.at(-1)?.sums ?? {};

// Per second, between the newest two.
export function rates() {
  const [before, newest] = [samples.at(-2), samples.at(-1)];
  return before ? between(before.sums, newest.sums, newest.at - before.at) : {};
}

// Per minute, over the last minute or as much of it as was seen.
export function minuteRates() {
  const newest = samples.at(-1);
  const from = samples.find((sample) => newest.at - sample.at <= 60_000);
  if (!from || from === newest) return {};
  const seconds = between(from.sums, newest.sums, newest.at - from.at);
  return Object.fromEntries(Object.entries(seconds).map(([name, rate]) => [name, 60 * rate]));
}

// Index, counters and rates of each shard.
export function shards() {
  const [before, newest] = [samples.at(-2), samples.at(-1)];
  const found = [...newest?.shards ?? []].sort(([one], [other]) => one - other);
  return found.map(([index, counters]) => ({
    index, counters,
    rates: before ? between(before.shards.get(index), counters, newest.at - before.at) : {},
  }));
}

// Of a shard's time, how much its loop works. Counters are up to a tick older than the answer, so
// that it may seem to be more than all of the time.
export const busy = (rate) =>
  (isNumber(rate) ? Math.min(rate / 1e9, 1) : undefined);

// Nothing for what one of the two does not have, or what went down. Of what is no counter, but how
// much there is now, that means nothing, and nobody asks for it.
function between(earlier, later, milliseconds) {
  const found = {};
  if (!earlier || !(milliseconds > 0)) return found;
  for (const [name, value] of Object.entries(later)) {
    const more = value - earlier[name];
    if (more >= 0) found[name] = more * 1000 / milliseconds;
  }
  return found;
}

// How many connections there may be; undefined if that is not told.
export function capacity() {
  const each = gateway.overview.limits?.connections_per_shard;
  return isNumber(each) ? each * listOf(gateway.overview.shards).length : undefined;
}
