// One gateway on ports of its own, which can be ended and started again on the same ones.
//
// TIDEGATE_BIN  the binary (default target/release/tidegate)

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as dial, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const binary = process.env.TIDEGATE_BIN
  ?? fileURLToPath(new URL("../../../target/release/tidegate", import.meta.url));
const START_MS = 20_000;
const STOP_MS = 30_000;

export const pause = (ms) => new Promise((go) => { setTimeout(go, ms); });

// Below the ports that the kernel gives to connections that go out.
async function freePort() {
  for (let tries = 0; tries < 50; tries += 1) {
    const port = 20000 + Math.floor(Math.random() * 10000);
    const server = createServer();
    const free = await new Promise((done) => {
      server.once("error", () => done(false));
      server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
    });
    if (free) return port;
  }
  throw new Error("there is no free port from 20000 to 29999 on 127.0.0.1");
}

function answers(port) {
  return new Promise((done) => {
    const socket = dial(port, "127.0.0.1");
    socket.once("connect", () => { socket.destroy(); done(true); });
    socket.once("error", () => done(false));
  });
}

export class Gateway {
  #config; #process; #log = "";

  static async start(config) {
    const gateway = new Gateway();
    gateway.port = await freePort();
    do gateway.adminPort = await freePort(); while (gateway.adminPort === gateway.port);
    gateway.folder = mkdtempSync(join(tmpdir(), "tidegate-clients-"));
    gateway.#config = join(gateway.folder, "tidegate.toml");
    writeFileSync(gateway.#config, config);
    await gateway.again();
    return gateway;
  }

  async again() {
    const running = this.#process = spawn(binary, [
      "--config", this.#config, "--listen", `127.0.0.1:${this.port}`,
      "--admin", `127.0.0.1:${this.adminPort}`,
      "--driver", process.env.TIDEGATE_TEST_DRIVER ?? "auto",
    ], { stdio: ["ignore", "pipe", "pipe"] });
    this.#log = "";
    const keep = (bytes) => { this.#log = (this.#log + bytes).slice(-4000); };
    running.stdout.on("data", keep);
    running.stderr.on("data", keep);
    const deadline = Date.now() + START_MS;
    while (!await answers(this.port) || !await answers(this.adminPort)) {
      if (running.exitCode !== null || Date.now() > deadline) {
        throw new Error(`the gateway does not start:\n${this.#log}`);
      }
      await pause(20);
    }
  }

  async end(signal = "SIGTERM") {
    const running = this.#process;
    if (!running || running.exitCode !== null || running.signalCode) return;
    const gone = once(running, "exit");
    running.kill(signal);
    const timer = setTimeout(() => running.kill("SIGKILL"), STOP_MS);
    await gone;
    clearTimeout(timer);
  }

  async close() {
    await this.end("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }

  // What the admin address answers to a post.
  async post(path, body) {
    const answer = await fetch(`http://127.0.0.1:${this.adminPort}/v1/${path}`, {
      method: "POST", body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
    return text && JSON.parse(text);
  }
}
