// Opens the gateway's page over https in Chromium, and an echo over wss from it.
//
//     HOME=FOLDER node chromium.mjs https://localhost:PORT/ trusted|unknown
//
// The browser trusts what $HOME/.pki/nssdb trusts. With `unknown` it has to refuse the page, which
// shows that it looks. Exit code 0 and one line if all was as it should be.

import assert from "node:assert/strict";
import { openBrowser, watch } from "../browser/browser.mjs";

const [pageUrl, trust] = process.argv.slice(2);
if (!pageUrl?.startsWith("https://") || !["trusted", "unknown"].includes(trust)) {
  console.error("usage: HOME=FOLDER node chromium.mjs https://localhost:PORT/ trusted|unknown");
  process.exit(2);
}
const answerTimeMs = 20_000;
const complaints = [];

// In the page: what an echo answers to each of the messages, and how the connection ended.
function echo([url, texts]) {
  return new Promise((done, failed) => {
    const socket = new WebSocket(url);
    const heard = [];
    socket.onerror = () => failed(new Error("the WebSocket failed"));
    socket.onopen = () => texts.forEach((text) => socket.send(text));
    socket.onmessage = ({ data }) => {
      heard.push(data);
      if (heard.length === texts.length) socket.close(1000, "heard");
    };
    socket.onclose = ({ code, wasClean }) => done({ heard, code, wasClean });
  });
}

const { browser, close } = await openBrowser(answerTimeMs);
try {
  const page = browser.pages()[0] ?? await browser.newPage();
  if (trust === "unknown") {
    await assert.rejects(page.goto(pageUrl), /ERR_CERT_AUTHORITY_INVALID/);
  } else {
    watch(page, complaints);
    const response = await page.goto(pageUrl);
    const details = await response.securityDetails();
    assert.equal(response.status(), 200);
    assert.equal(details.protocol, "TLS 1.3");
    assert.ok(await page.evaluate(() => window.isSecureContext));
    const texts = ["over TLS", "", "é".repeat(100_000)];
    const url = new URL("/echo", pageUrl).href.replace(/^https/, "wss");
    const told = await page.evaluate(echo, [url, texts]);
    assert.deepEqual(told, { heard: texts, code: 1000, wasClean: true });
    assert.deepEqual(complaints, []);
  }
  console.log(`chromium ${browser.browser()?.version() ?? ""}: passed, authority ${trust}`);
} finally {
  await close();
}
