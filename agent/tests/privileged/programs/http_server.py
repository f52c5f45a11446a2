"""http_server.py PORT PROTOCOL: the standard library's HTTP server."""
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do(self):
        sent = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        kind = self.path.split("/")[1].split("?")[0]
        if kind == "slow":
            time.sleep(0.15)
        status, body = {
            "hello": (200, b"hello\n"),
            "big": (200, b"b" * 300_000),
            "upload": (200, b"got %d\n" % sent),
            "slow": (200, b"slow\n"),
            "endless": (200, b"e" * 5_000),
        }.get(kind, (404, b"not here\n"))
        self.send_response(status)
        if kind != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if kind == "endless":
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do

    def log_message(self, *args):
        pass


Handler.protocol_version = sys.argv[2]
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
