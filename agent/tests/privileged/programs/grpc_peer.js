// node grpc_peer.js serve ADDRESS / node grpc_peer.js call ADDRESS PLAN CONCURRENCY
//
// gRPC of `@grpc/grpc-js`, messages as plain bytes. See grpc/mod.rs for what server and
// client do.
const fs = require('fs');
const readline = require('readline');
const grpc = require('@grpc/grpc-js');

const [, , role, address, file, concurrency] = process.argv;
const options = { 'grpc.max_receive_message_length': -1, 'grpc.max_concurrent_streams': 2000 };
const same = (bytes) => bytes;
const kindOf = (path) => path.split('/')[1].split('.').pop();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms || 0));
const GZIP = grpc.compressionAlgorithms.gzip;

// --- server ---

const orderOf = (messages) => (messages.length ? JSON.parse(messages[0]) : { replies: [0] });

function compress(call, order) {
  if (!order.gzip) return;
  const metadata = new grpc.Metadata();
  metadata.set('grpc-internal-encoding-request', 'gzip');
  call.sendMetadata(metadata);
}

// Gives all replies to `write`; the status to end with, if it is an error.
async function replies(call, order, write) {
  compress(call, order);
  await pause(order.delay);
  if (order.status) return { code: order.status, details: order.message };
  for (const [number, size] of order.replies.entries()) {
    if (number) await pause(order.every);
    if (call.cancelled) break;
    write(Buffer.alloc(size, 'r'));
  }
  return null;
}

async function single(call, order, callback) {
  let reply;
  const error = await replies(call, order, (bytes) => { reply = bytes; });
  callback(error, reply);
}

async function stream(call, order) {
  const error = await replies(call, order, (bytes) => call.write(bytes));
  if (error) call.emit('error', error);
  else call.end();
}

const handlers = {
  Unary: ['unary', (call, callback) => single(call, JSON.parse(call.request), callback)],
  Server: ['serverStream', (call) => stream(call, JSON.parse(call.request))],
  Client: ['clientStream', (call, callback) => {
    const messages = [];
    call.on('data', (bytes) => messages.push(bytes));
    call.on('end', () => single(call, orderOf(messages), callback));
  }],
  Bidi: ['bidi', (call) => {
    let order;
    call.on('data', (bytes) => {
      order = order || JSON.parse(bytes);
      if (order.echo) call.write(bytes);
    });
    call.on('end', () => stream(call, order));
  }],
};

// Names are made up by the client, so that handlers are found by what is before them.
class ByKind extends Map {
  get(path) {
    const handler = handlers[kindOf(path)];
    if (!handler) return undefined;
    const [type, func] = handler;
    return { func, serialize: same, deserialize: same, type, path };
  }
}

function serve() {
  const server = new grpc.Server(options);
  server.handlers = new ByKind();
  server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
  });
}

// --- client ---

function messagesOf(call) {
  return call.sizes.map((size, number) => {
    const bytes = Buffer.alloc(size, ' ');
    if (!number) bytes.write(JSON.stringify(call.command));
    return bytes;
  });
}

const REQUESTS = { Unary: 'makeUnaryRequest', Server: 'makeServerStreamRequest', Client: 'makeClientStreamRequest', Bidi: 'makeBidiStreamRequest' };

function one(client, call) {
  return new Promise((resolve) => {
    const kind = kindOf(call.path);
    const start = process.hrtime.bigint();
    const received = [];
    const callOptions = call.deadline ? { deadline: Date.now() + call.deadline } : {};
    const args = [call.path, same, same];
    if (kind === 'Unary' || kind === 'Server') args.push(messagesOf(call)[0]);
    const metadata = new grpc.Metadata();
    args.push(metadata, callOptions);
    if (kind === 'Unary' || kind === 'Client') {
      args.push((_, reply) => { if (reply) received.push(reply.length); });
    }
    const running = client[REQUESTS[kind]](...args);
    if (kind === 'Server' || kind === 'Bidi') {
      running.on('data', (reply) => received.push(reply.length));
      running.on('error', () => {});
    }
    running.on('status', ({ code, details }) => {
      const seconds = Number(process.hrtime.bigint() - start) / 1e9;
      console.log(JSON.stringify({ path: call.path, status: code, message: details, received, seconds }));
      resolve();
    });
    if (kind === 'Client' || kind === 'Bidi') {
      for (const bytes of messagesOf(call)) running.write(bytes);
      running.end();
    }
    if (call.cancel) setTimeout(() => running.cancel(), call.cancel);
  });
}

async function callAll() {
  const phases = JSON.parse(fs.readFileSync(file));
  // Clients compress by channel, not by call.
  const gzip = phases.flat().some((call) => call.gzip);
  const compression = gzip ? { 'grpc.default_compression_algorithm': GZIP } : {};
  const credentials = grpc.credentials.createInsecure();
  const client = new grpc.Client(address, credentials, { ...options, ...compression });
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  for (const [number, phase] of phases.entries()) {
    if (number > 0) {
      console.log('paused');
      await lines.next();
    }
    const worker = async () => { while (phase.length) await one(client, phase.shift()); };
    await Promise.all(Array.from({ length: Number(concurrency) }, worker));
  }
  client.close();
  process.stdin.destroy();
}

if (role === 'serve') serve();
else callAll();
