// node server.js PORT: an HTTP server of Node's own `http` module.
const http = require('http');

const routes = {
  hello: (req, res) => end(res, 200, 'hello\n'),
  big: (req, res) => end(res, 200, Buffer.alloc(300000, 'b')),
  missing: (req, res) => end(res, 404, 'not here\n'),
  upload: (req, res, sent) => end(res, 200, `got ${sent}\n`),
  failing: (req, res) => end(res, 503, 'no\n'),
  slow: (req, res) => setTimeout(() => end(res, 200, 'slow\n'), 150),
  nothing: (req, res) => { res.writeHead(204); res.end(); },
  same: (req, res) => { res.writeHead(304, { ETag: '"x"', 'Content-Length': 5000 }); res.end(); },
  // Ten pieces of 1,000 bytes, chunked, 20 ms apart.
  chunked: (req, res) => {
    res.writeHead(200);
    let left = 10;
    const timer = setInterval(() => {
      res.write(Buffer.alloc(1000, 'c'));
      if (--left === 0) { clearInterval(timer); res.end(); }
    }, 20);
  },
  // 240 pieces of up to 50 bytes at once: Node sends four buffers for each, in one call.
  burst: (req, res) => {
    res.writeHead(200);
    for (let i = 0; i < 240; i++) res.write('b'.repeat(i % 50 + 1));
    res.end();
  },
  hints: (req, res) => {
    res.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' });
    setTimeout(() => end(res, 200, 'after hints\n'), 50);
  },
};

function end(res, status, body) {
  res.writeHead(status, { 'Content-Type': 'text/plain', 'Content-Length': Buffer.byteLength(body) });
  res.end(body);
}

const server = http.createServer((req, res) => {
  // Answers before the body has come, and does not want the rest.
  if (req.url.startsWith('/refuse')) {
    res.setHeader('Connection', 'close');
    return end(res, 413, 'too much\n');
  }
  const route = routes[req.url.split(/[/?]/)[1]] || routes.missing;
  let sent = 0;
  req.on('data', (data) => { sent += data.length; });
  req.on('end', () => route(req, res, sent));
});

server.on('upgrade', (req, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n');
  socket.on('data', (data) => socket.write(data));
  socket.on('end', () => socket.end());
});

server.keepAliveTimeout = 60000;
server.listen(Number(process.argv[2]), '127.0.0.1');
