// What a browser lets pages of other origins read: of a route that says which may (`cors`), and of one
// that says nothing.
//
// TIDEGATE_URL  such a gateway (default http://127.0.0.1:8080/): /health for any port of localhost

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { openBrowser } from "./browser.mjs";

const pageUrl = process.env.TIDEGATE_URL ?? "http://127.0.0.1:8080/";
const answerTimeMs = 10_000;

let browser;
let closeBrowser;
let server;
let port;

before(async () => {
  ({ browser, close: closeBrowser } = await openBrowser(answerTimeMs));
  server = createServer((_, response) => response.end("<!doctype html><title>elsewhere</title>"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  port = server.address().port;
});

after(async () => {
  server?.closeAllConnections();
  server?.close();
  await closeBrowser?.();
});

// What a page of this host comes to see of such a request: its status, or "kept from it".
async function asked(host, path, how = {}) {
  const page = await browser.newPage();
  try {
    await page.goto(`http://${host}:${port}/`);
    return await page.evaluate(async ([url, init]) => {
      try {
        return (await fetch(url, init)).status;
      } catch {
        return "kept from it";
      }
    }, [new URL(path, pageUrl).href, how]);
  } finally {
    await page.close();
  }
}

test("a page that may reads it, with what it may send", async () => {
  assert.equal(await asked("localhost", "health"), 200);
  assert.equal(await asked("localhost", "health", { credentials: "include" }), 200);
  assert.equal(await asked("localhost", "health", { headers: { "x-asked": "yes" } }), 200);
  // The handler knows no PUT, and the page may see that.
  assert.equal(await asked("localhost", "health", { method: "PUT" }), 405);
});

test("what it may not send its browser does not send", async () => {
  assert.equal(await asked("localhost", "health", { headers: { "x-other": "no" } }), "kept from it");
  assert.equal(await asked("localhost", "health", { method: "DELETE" }), "kept from it");
});

test("a page that may not is kept from it", async () => {
  assert.equal(await asked("127.0.0.1", "health"), "kept from it");
  assert.equal(await asked("127.0.0.1", "health", { method: "PUT" }), "kept from it");
});

test("a route that says nothing is for no page of another origin", async () => {
  assert.equal(await asked("localhost", ""), "kept from it");
});
