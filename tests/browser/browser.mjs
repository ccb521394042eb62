// The headless Chromium of the tests.
//
// CHROMIUM  the browser (default /usr/bin/chromium)

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

// Without these the browser looks for its maker's hosts at every start. Playwright's own defaults
// are left out, so that the browser is as a person's, but for the pipe that drives it.
const browserArguments = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

// Starts a browser with a profile of its own; `close` ends it and removes that.
export async function openBrowser(answerTimeMs) {
  const userData = await mkdtemp(join(tmpdir(), "tidegate-browser-"));
  const browser = await chromium.launchPersistentContext(userData, {
    executablePath,
    ignoreDefaultArgs: true,
    args: [
      ...browserArguments, `--user-data-dir=${userData}`, "--remote-debugging-pipe", "about:blank",
    ],
  });
  browser.setDefaultTimeout(answerTimeMs);
  const close = async () => {
    await browser.close();
    await rm(userData, { recursive: true, force: true, maxRetries: 5 });
  };
  return { browser, close };
}

// Collects what a window, or its browser, logs as an error.
export function watch(window, complaints) {
  window.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  window.on("pageerror", (error) => complaints.push(String(error)));
}
