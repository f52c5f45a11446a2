"""Busy in the interpreter and in extension modules."""
import hashlib
import json
import re
import zlib

data = {str(i): [i] * 20 for i in range(2000)}
while True:
    text = json.dumps(data)
    json.loads(text)
    re.findall(r"(\d+)", text)
    zlib.compress(bytes(range(256)) * 1000)
    hashlib.sha256(b"x" * 1000000).digest()
