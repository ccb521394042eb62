// Posts through Node's own http.Agent, which keeps connections and uses them again, at the pace at which
// a server that ends idle connections unannounced resets them.
//
//     node agent.cjs http://127.0.0.1:8081 [SECONDS]
//
// Exit code 0 and one line if every post was answered over a connection that was kept, 1 and a line for
// each that was not, 2 for a wrong call.
"use strict";

const http = require("node:http");
const { setTimeout: sleep } = require("node:timers/promises");

const AGENTS = 20;
const PAUSE_MS = 5_000;
const ANSWER_TIME_MAX_MS = 10_000;
const SECONDS_MAX = 240;
const BODY = JSON.stringify({ target: { all: true }, text: "x" });

// Posts once; resolves to the answer's status.
function post(url, agent) {
  return new Promise((resolve, reject) => {
    const request = http.request(new URL("/v1/publish", url), {
      agent, method: "POST", timeout: ANSWER_TIME_MAX_MS,
      headers: { "content-type": "application/json", "content-length": Buffer.byteLength(BODY) },
    }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
      response.on("error", reject);
    });
    request.on("timeout", () => request.destroy(new Error("no answer in time")));
    request.on("error", reject);
    request.end(BODY);
  });
}

// Posts every five seconds through one agent, which may have one connection; tells what went wrong.
async function postFor(url, seconds, index) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const wrong = [];
  const sockets = new Set();
  agent.on("free", (socket) => sockets.add(socket));
  // A little apart, so that some are just before and some just behind any deadline.
  await sleep(index * 3);
  const count = Math.max(2, Math.floor(seconds * 1000 / PAUSE_MS));
  for (let at = 0; at < count; at += 1) {
    if (at > 0) await sleep(PAUSE_MS - AGENTS + 2 * index);
    try {
      const status = await post(url, agent);
      if (status !== 200) wrong.push(`post ${at}: status ${status}`);
    } catch (error) {
      wrong.push(`post ${at}: ${error.code ?? error.message}`);
    }
  }
  agent.destroy();
  if (sockets.size !== 1) wrong.push(`${sockets.size} connections in place of one`);
  return { count, wrong };
}

async function main() {
  const [url, seconds = "30"] = process.argv.slice(2);
  if (!url || !(Number(seconds) > 0 && Number(seconds) <= SECONDS_MAX)) {
    console.error("usage: node agent.cjs URL [SECONDS, at most 240]");
    process.exitCode = 2;
    return;
  }
  const indices = Array.from({ length: AGENTS }, (_, index) => index);
  const results = await Promise.all(indices.map((index) => postFor(url, Number(seconds), index)));
  const wrong = results.flatMap(({ wrong }, index) => wrong.map((what) => `agent ${index}: ${what}`));
  const posts = results.reduce((sum, { count }) => sum + count, 0);
  for (const line of wrong) console.error(`node's agent: ${line}`);
  if (wrong.length === 0) console.log(`node's agent: ${posts} posts over ${AGENTS} kept connections`);
  process.exitCode = wrong.length === 0 ? 0 : 1;
}

main();
