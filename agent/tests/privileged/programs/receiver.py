"""receiver.py PORT DIR: an OTLP/HTTP gateway that stores what it is sent, one file
a request. It listens on DIR/otlp.sock as well."""
import gzip
import itertools
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

numbers = itertools.count()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        path = os.path.join(sys.argv[2], "%06d" % next(numbers))
        with open(path + ".part", "wb") as file:
            file.write(body)
        metrics = self.path.endswith("/metrics")
        os.rename(path + ".part", path + (".metrics" if metrics else ".otlp"))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


class UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self):
        self.socket.bind(self.server_address)

    def get_request(self):
        # Handlers want an address of the client that has two parts.
        return self.socket.accept()[0], ("unix", 0)


local = UnixServer(os.path.join(sys.argv[2], "otlp.sock"), Handler)
threading.Thread(target=local.serve_forever, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
