"""Stories for the HPACK decoder, told by `hpack` 4.2.0 (PyPI): python3 vectors.py > vectors.json"""
import json, random
from hpack import Decoder, Encoder, HPACKError, HeaderTuple, NeverIndexedHeaderTuple

rng = random.Random(7541)
NAMES = [":method", ":path", ":authority", ":scheme", ":status", "content-type", "user-agent", "grpc-status",
         "grpc-message", "te", "x-request-id", "traceparent", "cookie", "a", "x-" + "n" * 40, "date"]
VALUES = ["GET", "POST", "/", "/index.html", "200", "404", "http", "application/grpc", "trailers", "", "0",
          "grpc-go/1.60.0", "/pkg.Service/Method", "\u00e4\u00ff\u0000\u001f~^", "v" * 130]

def value():
    kind = rng.random()
    if kind < 0.7:
        return rng.choice(VALUES)
    if kind < 0.9:
        return "%016x" % rng.getrandbits(64)
    return "".join(chr(rng.randrange(256)) for _ in range(rng.randrange(40)))

def text(part):
    return (part if isinstance(part, bytes) else part.encode("latin-1")).decode("latin-1")

def decode(decoder, wire):
    try:
        return [[text(n), text(v)] for n, v in decoder.decode(wire, raw=True)]
    except HPACKError:
        return None

stories = []
for number in range(40):
    encoder, decoder = Encoder(), Decoder()
    decoder.max_allowed_table_size = 1 << 20
    blocks = []
    for at in range(rng.randrange(4, 12)):
        if rng.random() < 0.2:
            encoder.header_table_size = rng.choice([0, 32, 64, 100, 256, 1000, 4096, 20000])
        headers = [(rng.choice(NAMES).encode(), value().encode("latin-1"), rng.random() < 0.1)
                   for _ in range(rng.randrange(1, 9))]

        headers = [(NeverIndexedHeaderTuple if never else HeaderTuple)(n, v) for n, v, never in headers]
        wire = encoder.encode(headers, huffman=rng.random() < 0.7)
        fields = decode(decoder, wire)
        assert fields == [[text(h[0]), text(h[1])] for h in headers]
        blocks.append({"wire": wire.hex(), "fields": fields})
    if number % 2:
        # A last block, damaged: an independent opinion on what is malformed.
        wire = bytearray(encoder.encode([(rng.choice(NAMES), value()) for _ in range(4)]))
        for _ in range(rng.randrange(1, 3)):
            wire[rng.randrange(len(wire))] = rng.randrange(256)
        fields = decode(decoder, bytes(wire))
        blocks.append({"wire": bytes(wire).hex(), "fields": fields})
    stories.append(blocks)
print("[\n" + ",\n".join(json.dumps(story, separators=(",", ":")) for story in stories) + "\n]")
