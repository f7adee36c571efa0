// A real WebSocket client and server, for the end-to-end tests: `node websocket.mjs server` prints its port and echoes;
// `node websocket.mjs client URL` ends with 0 when everything came back as it was sent; so does `node websocket.mjs http2
// URL`, over the streams of one HTTP/2 connection (RFC 8441). `node websocket.mjs server-http2` echoes on such streams.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, constants, createServer } from 'node:http2';
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

function serveHttp2() {
  const server = createServer({ settings: { enableConnectProtocol: true } });
  server.on('stream', (stream, head) => {
    stream.on('error', () => {});
    if (head[':protocol'] !== 'websocket') return stream.respond({ ':status': 426 }, { endStream: true });
    stream.respond({ ':status': 200, 'sec-websocket-protocol': 'second' });
    const socket = new WebSocket(null, undefined, {});
    Object.assign(socket, { _isServer: true, _autoPong: true, _closeTimeout: 30_000 });
    socket.setSocket(stream, Buffer.alloc(0), { maxPayload: MAX });
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    socket.on('error', () => socket.terminate());
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
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

// Sends an extended CONNECT, and gives its stream and the head of the answer.
async function ask(session, path, protocol = 'websocket', headers = {}) {
  const stream = session.request({
    ':method': 'CONNECT', ':protocol': protocol, ':path': path, 'sec-websocket-version': '13', ...headers,
  }, { endStream: false });
  const [head] = await once(stream, 'response');
  return [stream, head];
}

// A socket on a stream of HTTP/2: the class knows no such handshake, but how to go on after one.
async function openStream(session, path) {
  const [stream, head] = await ask(session, path, 'websocket', { 'sec-websocket-protocol': 'first, second' });
  assert.equal(head[':status'], 200);
  assert.equal(head['sec-websocket-protocol'], 'second');
  assert.equal(head['x-out'], '101 null');
  for (const name of ['upgrade', 'connection', 'sec-websocket-accept', 'content-length']) assert.ok(!(name in head), name);
  const socket = new WebSocket(null, undefined, {});
  // What its own handshake would have set.
  Object.assign(socket, { _isServer: false, _closeTimeout: 30_000 });
  socket.setSocket(stream, Buffer.alloc(0), { maxPayload: MAX });
  return socket;
}

async function refused(session, path, protocol) {
  const [stream, head] = await ask(session, path, protocol);
  let text = '';
  stream.setEncoding('utf8');
  for await (const part of stream) text += part;
  return [head[':status'], text];
}

async function talkHttp2(url) {
  const { origin, pathname } = new URL(url);
  const session = connect(origin, { rejectUnauthorized: false });
  const [settings] = await once(session, 'remoteSettings');
  assert.equal(settings.enableConnectProtocol, true);
  const socket = await openStream(session, pathname);
  await echo(socket, 'h\u00e9llo');
  for (const size of [0, 125, 126, 65_535, 65_536, 1 << 20]) await echo(socket, randomBytes(size));
  const pong = once(socket, 'pong');
  socket.ping('are you there');
  assert.equal(String((await pong)[0]), 'are you there');
  await echo(socket, randomBytes((16 << 20) + 17));
  // Beside one another, and beside plain requests.
  const many = await Promise.all(Array.from({ length: 50 }, () => openStream(session, pathname)));
  const plain = await refused(session, `${pathname}?refuse`);
  assert.deepEqual(plain, [403, 'no']);
  await Promise.all(many.map((one, index) => echo(one, randomBytes(1000 * index))));
  for (const one of [socket, ...many]) {
    const closed = once(one, 'close');
    one.close(4001, 'enough');
    const [code, reason] = await closed;
    assert.deepEqual([code, String(reason)], [4001, 'enough']);
  }
  // What is no tunnel never looks like one.
  for (const [path, expected, protocol] of [
    [pathname, 501, 'connect-udp'], [`${pathname}-answer`, 501], [`${pathname}-made-plain`, 426],
  ]) {
    const [status, text] = await refused(session, path, protocol);
    assert.equal(status, expected, text);
  }
  const [broken] = await ask(session, pathname);
  broken.close(constants.NGHTTP2_CANCEL);
  await once(broken, 'close');
  session.close();
}

const [mode, url] = process.argv.slice(2);
// Clients do not wait for ever.
if (url) setTimeout(() => { console.error('too slow'); process.exit(1); }, 60_000).unref();
if (mode === 'server') serve();
else if (mode === 'server-http2') serveHttp2();
else if (mode === 'http2') await talkHttp2(url);
else await talk(url);
