// node h2_server.js PORT [SETTING=VALUE]…: a cleartext HTTP/2 server of Node's `http2`.
const http2 = require('http2');

const settings = { maxConcurrentStreams: 2000, maxHeaderListSize: 262144 };
for (const setting of process.argv.slice(3)) {
  const [name, value] = setting.split('=');
  settings[name] = Number(value);
}

const routes = {
  hello: (stream) => end(stream, 200, 'hello\n'),
  big: (stream) => end(stream, 200, Buffer.alloc(300000, 'b')),
  missing: (stream) => end(stream, 404, 'not here\n'),
  upload: (stream, sent) => end(stream, 200, `got ${sent}\n`),
  failing: (stream) => end(stream, 503, 'no\n'),
  nothing: (stream) => stream.respond({ ':status': 204 }, { endStream: true }),
  // /slow/MILLISECONDS/…
  slow: (stream, _, [ms]) => setTimeout(() => end(stream, 200, 'slow\n'), Number(ms)),
  // Ten pieces of 1,000 bytes, 20 ms apart, and trailers.
  pieces: (stream) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-checksum': 'abc' }));
    let left = 10;
    const timer = setInterval(() => {
      stream.write(Buffer.alloc(1000, 'p'));
      if (--left === 0) { clearInterval(timer); stream.end(); }
    }, 20);
  },
  // /headers/BYTES/…: as many bytes of response headers, in fields of 1,000.
  headers: (stream, _, [bytes]) => {
    const headers = { ':status': 200 };
    for (let at = 0; at < Number(bytes); at += 1000) headers[`x-field-${at}`] = 'v'.repeat(1000);
    stream.respond(headers);
    stream.end('hello\n');
  },
  hints: (stream) => {
    stream.additionalHeaders({ ':status': 103, link: '</style.css>; rel=preload' });
    setTimeout(() => end(stream, 200, 'after hints\n'), 50);
  },
  // 1,000 bytes, then RST_STREAM with INTERNAL_ERROR. (`close` would end the response.)
  broken: (stream) => {
    stream.respond({ ':status': 200 });
    stream.write(Buffer.alloc(1000, 'r'), () => setTimeout(() => stream.destroy(new Error('broken')), 50));
  },
  // /refuse/CODE/…: RST_STREAM instead of a response.
  refuse: (stream, _, [code]) => stream.close(Number(code)),
  // Never answers.
  never: () => {},
};

function end(stream, status, body) {
  stream.respond({ ':status': status, 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) });
  stream.end(body);
}

const server = http2.createServer({ settings, maxHeaderListPairs: 1000, maxSendHeaderBlockLength: 262144 });
server.on('stream', (stream, headers) => {
  const [name, ...rest] = headers[':path'].split('?')[0].split('/').slice(1);
  const route = routes[name] || routes.missing;
  let sent = 0;
  stream.on('error', () => {});
  stream.on('data', (data) => { sent += data.length; });
  stream.on('end', () => { if (!stream.destroyed) route(stream, sent, rest); });
});
server.on('sessionError', () => {});
server.listen(Number(process.argv[2]), '127.0.0.1');
