// node h2_client.js HOST:PORT PLAN CONCURRENCY [SETTING=VALUE]…: makes the planned requests
// with Node's `http2` over one cleartext connection and prints one JSON line for each. The
// plan is a list of requests, or a list of such lists: after each but the last, a line is
// printed and one awaited on standard input. A request with `cancel` is reset after as many
// milliseconds; `header` is a number of bytes to send in fields of 1,000.
const fs = require('fs');
const http2 = require('http2');
const readline = require('readline');

const [, , target, file, concurrency, ...rest] = process.argv;
const settings = {};
for (const setting of rest) {
  const [name, value] = setting.split('=');
  settings[name] = Number(value);
}
const plan = JSON.parse(fs.readFileSync(file));
const phases = Array.isArray(plan[0]) ? plan : [plan];
const session = http2.connect(`http://${target}`, { settings, maxSendHeaderBlockLength: 262144 });
session.on('error', () => {});

function one({ method, path, body, cancel, header }) {
  return new Promise((resolve) => {
    const start = process.hrtime.bigint();
    const headers = { ':method': method, ':path': path + '?token=secret' };
    for (let at = 0; at < (header || 0); at += 1000) headers[`x-field-${at}`] = 'v'.repeat(1000);
    const stream = session.request(headers, { endStream: !body });
    let received = 0;
    let status = 0;
    stream.on('response', (headers) => { status = headers[':status']; });
    stream.on('data', (data) => { received += data.length; });
    stream.on('error', () => {});
    stream.on('close', () => {
      const seconds = Number(process.hrtime.bigint() - start) / 1e9;
      console.log(JSON.stringify({ method, path, status, sent: body, received, seconds }));
      resolve();
    });
    if (body) stream.end(Buffer.alloc(body, 'n'));
    if (cancel) setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), cancel);
  });
}

(async () => {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  // The server's settings say how many streams there may be.
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  for (const [number, phase] of phases.entries()) {
    if (number > 0) {
      console.log('paused');
      await lines.next();
    }
    const worker = async () => { while (phase.length) await one(phase.shift()); };
    await Promise.all(Array.from({ length: Number(concurrency) }, worker));
  }
  session.close();
  process.stdin.destroy();
})();
