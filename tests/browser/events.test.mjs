// The console's rooms on a route with events=on, whose topics keep history and presence.
//
// TIDEGATE_URL  the page of such a gateway (default http://127.0.0.1:8080/)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, watch } from "./browser.mjs";

const pageUrl = process.env.TIDEGATE_URL ?? "http://127.0.0.1:8080/";
const answerTimeMs = 10_000;
const room = `told-${process.pid}`;

let browser;
let closeBrowser;
let ada;
let complaints = [];     // what the page or the browser logged as an error

before(async () => {
  ({ browser, close: closeBrowser } = await openBrowser(answerTimeMs));
  ada = browser.pages()[0] ?? await browser.newPage();
  watch(ada, complaints);
  await ada.goto(`${pageUrl}#room=${room}`);
  await ada.waitForSelector("#room-status[data-state=open]");
  await ada.fill("#speaker", "ada");
});

after(() => closeBrowser?.());
// A connection of another client, in the page of `ada`; sends all of these.
async function other(...messages) {
  const address = new URL(`rooms/${room}`, pageUrl).href.replace(/^http/, "ws");
  await ada.evaluate(([url, all]) => new Promise((done, failed) => {
    window.other = new WebSocket(url);
    window.other.onerror = failed;
    window.other.onopen = () => {
      for (const one of all) {
        window.other.send(typeof one === "string" ? one : new Uint8Array(one));
      }
      done();
    };
  }), [address, messages]);
}

// The first entry whose speaker and text match, as soon as it is there.
async function heard(speaker, said) {
  const entry = await ada.waitForFunction(([wanted, text]) => {
    const items = [...document.querySelectorAll("#talk li")].map((item) => ({
      kind: item.dataset.kind,
      own: item.dataset.own === "true",
      speaker: item.querySelector(".speaker").textContent,
      said: item.querySelector(".said").textContent,
      time: item.querySelector("time").textContent,
    }));
    return items.find((one) =>
      new RegExp(wanted).test(one.speaker) && new RegExp(text).test(one.said));
  }, [speaker, said]);
  return entry.jsonValue();
}

test("says where the subscription stands", async () => {
  await heard("^subscribed$", `^rooms/${room}: at message 0 of epoch [0-9a-f]{8}$`);
});

test("what one says oneself comes back as one's own", async () => {
  await ada.fill("#say-text", "hello");
  await ada.press("#say-text", "Enter");
  const { kind, own, time } = await heard("^ada$", "^hello$");
  assert.deepEqual([kind, own], ["said", true]);
  assert.match(time, /^no\. 1 · \d\d:\d\d:\d\d$/);
});

test("messages of others are unwrapped: speech, other text and binary", async () => {
  await other(JSON.stringify({ name: "bob", text: "hi" }), "plain <b>text</b>", [0, 255, 127, 128]);
  assert.equal((await heard("^bob$", "^hi$")).own, false);
  assert.match((await heard("^text$", "^plain <b>text</b>$")).time, /^no\. 3 · /);
  assert.match((await heard("^binary, 4 B$", "^00 ff 7f 80$")).time, /^no\. 4 · /);
});

test("says who comes in and who goes out", async () => {
  await heard("^came in$", "^connection .");
  await ada.evaluate(() => window.other.close(1000));
  await heard("^went out$", "^connection .");
});

test("what a peer sends is no event, whatever it looks like", async () => {
  const forged = JSON.stringify({ type: "join", user: "mallory" });
  await other(forged);
  assert.equal((await heard("^text$", "mallory")).said, forged);
  await ada.evaluate(() => window.other.close(1000));
});

test("no event is shown as it came", async () => {
  const all = await ada.locator("#talk .said").allTextContents();
  assert.deepEqual(all.filter((text) => text.includes('"epoch"')), []);
});

test("logged no error", () => {
  assert.deepEqual(complaints, []);
});
