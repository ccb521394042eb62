// The WebSocket of this runtime, or npm's `ws` where it has none.

import { createRequire } from "node:module";

export async function socketOption() {
  if (globalThis.WebSocket) return {};
  return { WebSocket: createRequire(import.meta.url)("ws") };
}
