// A real WebSocket client and server, for the end-to-end tests: `node websocket.mjs server` prints its port and echoes;
// `node websocket.mjs client URL` ends with 0 when everything came back as it was sent.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { WebSocket, WebSocketServer } from 'ws';

const MAX = 32 << 20;
const compression = { threshold: 0 };

function serve() {
  const server = new WebSocketServer({
    host: '127.0.0.1', port: 0, maxPayload: MAX, perMessageDeflate: compression,
    handleProtocols: (offered) => (offered.has('second') ? 'second' : false),
  });
  server.on('listening', () => console.log(server.address().port));
  server.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    // Whoever closes is answered with another code where the handshake lets it.
    socket.on('error', () => socket.terminate());
  });
}

async function open(url, options = {}) {
  const socket = new WebSocket(url, ['first', 'second'], { maxPayload: MAX, rejectUnauthorized: false, ...options });
  await once(socket, 'open');
  assert.equal(socket.protocol, 'second');
  return socket;
}

async function echo(socket, data, options) {
  const answered = once(socket, 'message');
  socket.send(data, options);
  const [answer, binary] = await answered;
  assert.equal(binary, typeof data !== 'string');
  assert.ok(answer.equals(Buffer.from(data)), `${answer.length} bytes came back of ${data.length}`);
}

async function talk(url) {
  for (const perMessageDeflate of [false, compression]) {
    const socket = await open(url, { perMessageDeflate });
    assert.equal(socket.extensions.includes('permessage-deflate'), perMessageDeflate !== false);
    await echo(socket, 'h\u00e9llo');
    for (const size of [0, 125, 126, 65_535, 65_536, 1 << 20]) await echo(socket, randomBytes(size));
    const pong = once(socket, 'pong');
    socket.ping('are you there');
    assert.equal(String((await pong)[0]), 'are you there');
    // Many messages under way at once, in order.
    const heard = [];
    socket.on('message', (data) => heard.push(Number(data)));
    const count = 5000;
    for (let number = 0; number < count; number += 1) socket.send(String(number));
    while (heard.length < count) await once(socket, 'message');
    assert.ok(heard.every((number, index) => number === index));
    const closed = once(socket, 'close');
    socket.close(4001, 'enough');
    const [code, reason] = await closed;
    assert.deepEqual([code, String(reason)], [4001, 'enough']);
  }
  // One frame of more than 16 MiB.
  const large = await open(url, { perMessageDeflate: false });
  await echo(large, randomBytes((16 << 20) + 17));
  large.close();
  const many = await Promise.all(Array.from({ length: 50 }, () => open(url)));
  await Promise.all(many.map((socket, index) => echo(socket, `number ${index}`)));
  many.forEach((socket) => socket.close());
}

const [mode, url] = process.argv.slice(2);
if (mode === 'server') serve();
else await talk(url);
