// A WebSocket echo with npm's ws on node: the peer most services in JavaScript are built on.
//
// Masking is bufferutil's, in C, which ws takes where it is there; UTF-8 is checked by node itself.
// No compression, no TLS, no pings of its own, no timeout. Connections whose path begins with
// /rooms/ share a room by path: a message of one goes to all of them, the sender included. node
// raises the limit of open files to the hard limit by itself.

import { createRequire } from 'node:module';
import { createServer } from 'node:http';

const MAX_PAYLOAD = 16 * 1024 * 1024;
const BACKLOG = 4096;

function portOf(args) {
  const port = Number(args[args.indexOf('--port') + 1]);
  if (args.includes('--port') && Number.isInteger(port) && port > 0 && port < 65536) return port;
  console.error('usage: node ws_echo.mjs --port N');
  process.exit(2);
}

function loadWs() {
  const require = createRequire(import.meta.url);
  try {
    const isNative = require('bufferutil') !== require('bufferutil/fallback.js');
    if (!isNative || process.env.WS_NO_BUFFER_UTIL)
      throw new Error('bufferutil is not native here, or turned off');
    const named = (name) => `${name} ${require(`${name}/package.json`).version}`;
    return { ...require('ws'), version: `${named('ws')} with ${named('bufferutil')}` };
  } catch (error) {
    console.error(`ws_echo: npm's ws cannot be loaded: ${error.message.split('\n')[0]}`);
    process.exit(3);
  }
}

const port = portOf(process.argv.slice(2));
const { WebSocketServer, version } = loadWs();
const rooms = new Map(); // path -> the connections in it

function echo(data, isBinary) {
  this.send(data, { binary: isBinary });
}

function join(path, connection) {
  if (!rooms.has(path)) rooms.set(path, new Set());
  const room = rooms.get(path).add(connection);
  connection.on('message', (data, binary) => {
    for (const member of room) member.send(data, { binary });
  });
  connection.on('close', () => {
    room.delete(connection);
    if (room.size === 0 && rooms.get(path) === room) rooms.delete(path);
  });
}

const http = createServer((request, response) => response.writeHead(426).end());
const server = new WebSocketServer({
  server: http,
  perMessageDeflate: false,
  clientTracking: false,
  maxPayload: MAX_PAYLOAD,
});
server.on('connection', (connection, request) => {
  connection.on('error', () => {}); // ws closes the connection itself
  if (request.url.startsWith('/rooms/')) join(request.url, connection);
  else connection.on('message', echo);
});
http.on('error', (error) => {
  console.error(`ws_echo: ${error.message}`);
  process.exit(1);
});
http.listen({ port, host: '0.0.0.0', backlog: BACKLOG }, () => {
  console.log(`${version}, node ${process.versions.node}, no compression`);
});
