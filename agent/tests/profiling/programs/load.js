// Busy in compiled code, in the engine and in native modules.
const crypto = require('crypto');
const zlib = require('zlib');
function compiled(n) {
  let s = 0;
  for (let i = 0; i < n; i++) s += Math.sqrt(i * s + 1);
  return s;
}
const object = {};
for (let i = 0; i < 3000; i++) object['k' + i] = [i, i * 2, 's' + i];
function turn() {
  const end = Date.now() + 50;
  while (Date.now() < end) {
    compiled(200000);
    const text = JSON.stringify(object);
    JSON.parse(text);
    crypto.createHash('sha512').update(text).digest();
    zlib.deflateSync(text);
    Object.keys(object).sort();
  }
  setImmediate(turn);
}
turn();
