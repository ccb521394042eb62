// nginx in front of a port, as someone would configure it for WebSocket.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as dial } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pause } from "./gateway.mjs";

export async function startNginx(upstream) {
  const folder = mkdtempSync(join(tmpdir(), "tidegate-nginx-"));
  const port = 20000 + Math.floor(Math.random() * 10000);
  writeFileSync(join(folder, "nginx.conf"), `
daemon off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi; uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${upstream};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
      proxy_read_timeout 75s;
    }
  }
}
`);
  const running = spawn("/usr/sbin/nginx", ["-c", join(folder, "nginx.conf"), "-e", "stderr"],
    { stdio: "inherit" });
  running.on("error", (error) => { console.log(`nginx: ${error.message}`); });
  const answers = () => new Promise((done) => {
    const socket = dial(port, "127.0.0.1");
    socket.once("connect", () => { socket.destroy(); done(true); });
    socket.once("error", () => done(false));
  });
  for (let tries = 0; !await answers(); tries += 1) {
    if (tries > 200 || running.exitCode !== null) throw new Error("nginx does not start");
    await pause(50);
  }
  const close = () => {
    running.kill("SIGTERM");
    rmSync(folder, { recursive: true, force: true });
  };
  return { port, close };
}
