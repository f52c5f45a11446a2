"""An ASGI application for uvicorn: `uvicorn shop:main`."""
import asyncio


async def main(scope, receive, send):
    if scope["type"] != "http":
        return
    sent, more = 0, True
    while more:
        part = await receive()
        sent, more = sent + len(part.get("body", b"")), part.get("more_body", False)
    kind = scope["path"].split("/")[1]
    if kind == "slow":
        await asyncio.sleep(0.15)
    status, body = {
        "hello": (200, b"hello\n"),
        "big": (200, b"b" * 300_000),
        "upload": (200, b"got %d\n" % sent),
        "slow": (200, b"slow\n"),
    }.get(kind, (404, b"not here\n"))
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else body
    await send({"type": "http.response.body", "body": body})
