// node client.js HOST:PORT PLAN CONCURRENCY: makes the planned requests with Node's
// `http`, keeping connections, and prints one JSON line for each.
const fs = require('fs');
const http = require('http');

const [host, port] = process.argv[2].split(':');
const plan = JSON.parse(fs.readFileSync(process.argv[3]));
const concurrency = Number(process.argv[4]);
const agent = new http.Agent({ keepAlive: true, maxSockets: concurrency });

function one({ method, path, body }) {
  return new Promise((resolve, reject) => {
    const start = process.hrtime.bigint();
    const headers = body ? { 'Content-Length': body } : {};
    const req = http.request({ agent, host, port, method, path: path + '?token=secret', headers }, (res) => {
      let received = 0;
      res.on('data', (data) => { received += data.length; });
      res.on('end', () => {
        const seconds = Number(process.hrtime.bigint() - start) / 1e9;
        console.log(JSON.stringify({ method, path, status: res.statusCode, sent: body, received, seconds }));
        resolve();
      });
    });
    req.on('error', reject);
    req.end(body ? Buffer.alloc(body, 'n') : undefined);
  });
}

async function worker() {
  while (plan.length) await one(plan.shift());
}

Promise.all(Array.from({ length: concurrency }, worker)).then(() => agent.destroy());
