"""sleepy.py PORT: answers GET after 4 to 103 ms, a hundred times, in another order every
time."""
import asyncio
import itertools
import sys

numbers = itertools.count()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


async def serve(reader, writer):
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep((4 + next(numbers) * 37 % 100) / 1000)
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
