"""A WSGI application for gunicorn: `gunicorn app:main`."""
import time


def main(environ, start_response):
    sent = len(environ["wsgi.input"].read())
    kind = environ["PATH_INFO"].split("/")[1]
    if kind == "slow":
        time.sleep(0.15)
    status, body = {
        "hello": ("200 OK", b"hello\n"),
        "big": ("200 OK", b"b" * 300_000),
        "upload": ("200 OK", b"got %d\n" % sent),
        "slow": ("200 OK", b"slow\n"),
    }.get(kind, ("404 Not Found", b"not here\n"))
    start_response(status, [("Content-Length", str(len(body)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]
