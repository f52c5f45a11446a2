"""grpc_peer.py sync|aio serve ADDRESS / grpc_peer.py sync|aio call ADDRESS PLAN CONCURRENCY

gRPC of `grpcio`, messages as plain bytes. See grpc/mod.rs for what server and client do.
ADDRESS is HOST:PORT or unix:PATH. `--option NAME=VALUE` sets a channel argument.
"""
import asyncio
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

flavour, role, address = sys.argv[1:4]
options = [("grpc.max_receive_message_length", -1), ("grpc.max_concurrent_streams", 2000)]
for argument in sys.argv[4:]:
    if argument.startswith("--option="):
        name, value = argument[len("--option="):].split("=")
        options.append((name, int(value)))
CODES = {code.value[0]: code for code in grpc.StatusCode}


def command(messages):
    return json.loads(messages[0]) if messages else {"replies": [0]}


def kind_of(path):
    return path.split("/")[1].rpartition(".")[2]


def handler_of(path, behaviour):
    """The handler that the kind in the path asks for."""
    return getattr(grpc, {
        "Unary": "unary_unary_rpc_method_handler",
        "Server": "unary_stream_rpc_method_handler",
        "Client": "stream_unary_rpc_method_handler",
        "Bidi": "stream_stream_rpc_method_handler",
    }[kind_of(path)])(behaviour)


def make_messages(call):
    text = json.dumps(call["command"]).encode()
    return [
        text.ljust(size) if number == 0 else b"m" * size
        for number, size in enumerate(call["sizes"])
    ]


# --- servers ---

class Sync(grpc.GenericRpcHandler):
    def service(self, details):
        kind = kind_of(details.method)
        if kind not in ("Unary", "Server", "Client", "Bidi"):
            return None

        def replies(order, context):
            if order.get("gzip"):
                context.set_compression(grpc.Compression.Gzip)
            time.sleep(order.get("delay", 0) / 1000)
            if order.get("status"):
                context.abort(CODES[order["status"]], order.get("message", ""))
            for number, size in enumerate(order["replies"]):
                if number:
                    time.sleep(order.get("every", 0) / 1000)
                yield b"r" * size

        def bidi(requests, context):
            order = None
            for request in requests:
                order = order or json.loads(request)
                if order.get("echo"):
                    yield request
            yield from replies(order, context)

        return handler_of(details.method, {
            "Unary": lambda request, context: next(replies(json.loads(request), context)),
            "Server": lambda request, context: replies(json.loads(request), context),
            "Client": lambda requests, context: next(replies(command(list(requests)), context)),
            "Bidi": bidi,
        }[kind])


class Aio(grpc.GenericRpcHandler):
    def service(self, details):
        kind = kind_of(details.method)
        if kind not in ("Unary", "Server", "Client", "Bidi"):
            return None

        async def replies(order, context):
            if order.get("gzip"):
                context.set_compression(grpc.Compression.Gzip)
            await asyncio.sleep(order.get("delay", 0) / 1000)
            if order.get("status"):
                await context.abort(CODES[order["status"]], order.get("message", ""))
            for number, size in enumerate(order["replies"]):
                if number:
                    await asyncio.sleep(order.get("every", 0) / 1000)
                yield b"r" * size

        async def unary(request, context):
            async for reply in replies(json.loads(request), context):
                return reply

        async def server(request, context):
            async for reply in replies(json.loads(request), context):
                yield reply

        async def client(requests, context):
            order = command([request async for request in requests])
            async for reply in replies(order, context):
                return reply

        async def bidi(requests, context):
            order = None
            async for request in requests:
                order = order or json.loads(request)
                if order.get("echo"):
                    yield request
            async for reply in replies(order, context):
                yield reply

        return handler_of(details.method, {"Unary": unary, "Server": server, "Client": client, "Bidi": bidi}[kind])


def serve_sync():
    server = grpc.server(ThreadPoolExecutor(128), [Sync()], options=options)
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


async def serve_aio():
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers([Aio()])
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


# --- clients ---

def callable_of(channel, path):
    name = {"Unary": "unary_unary", "Server": "unary_stream", "Client": "stream_unary", "Bidi": "stream_stream"}
    return getattr(channel, name[kind_of(path)])(path)


def keywords(call):
    deadline = call.get("deadline")
    return {
        "timeout": deadline / 1000 if deadline else None,
        "compression": grpc.Compression.Gzip if call.get("gzip") else None,
    }


def result(call, start, received, code, details):
    return json.dumps({
        "path": call["path"], "status": code.value[0], "message": details or "",
        "received": received, "seconds": time.perf_counter() - start,
    })


def one_sync(channel, call):
    messages = make_messages(call)
    streams = kind_of(call["path"]) in ("Client", "Bidi")
    single = kind_of(call["path"]) in ("Unary", "Client")
    request = iter(messages) if streams else messages[0]
    method = callable_of(channel, call["path"])
    start = time.perf_counter()
    received = []
    if single:
        running = method.future(request, **keywords(call))
    else:
        running = method(request, **keywords(call))
    if call.get("cancel"):
        threading.Timer(call["cancel"] / 1000, running.cancel).start()
    try:
        if single:
            received.append(len(running.result()))
        else:
            for reply in running:
                received.append(len(reply))
    except (grpc.RpcError, grpc.FutureCancelledError):
        pass
    return result(call, start, received, running.code(), running.details())


async def one_aio(channel, call):
    messages = make_messages(call)
    streams = kind_of(call["path"]) in ("Client", "Bidi")
    single = kind_of(call["path"]) in ("Unary", "Client")
    request = iter(messages) if streams else messages[0]
    start = time.perf_counter()
    running = callable_of(channel, call["path"])(request, **keywords(call))
    received = []
    if call.get("cancel"):
        asyncio.get_running_loop().call_later(call["cancel"] / 1000, running.cancel)
    try:
        if single:
            received.append(len(await running))
        else:
            async for reply in running:
                received.append(len(reply))
    except (grpc.RpcError, asyncio.CancelledError):
        pass
    return result(call, start, received, await running.code(), await running.details())


def phases():
    """The phases of the plan: after each but the last, a line is printed and one awaited."""
    plan = json.load(open(sys.argv[4]))
    for number, phase in enumerate(plan):
        if number:
            print("paused", flush=True)
            sys.stdin.readline()
        yield phase


def call_sync():
    with grpc.insecure_channel(address, options) as channel, ThreadPoolExecutor(int(sys.argv[5])) as pool:
        for phase in phases():
            for line in pool.map(lambda call: one_sync(channel, call), phase):
                print(line, flush=True)


async def call_aio():
    async with grpc.aio.insecure_channel(address, options) as channel:
        for phase in phases():
            gate = asyncio.Semaphore(int(sys.argv[5]))

            async def one(call):
                async with gate:
                    print(await one_aio(channel, call), flush=True)

            await asyncio.gather(*map(one, phase))


if flavour == "sync":
    serve_sync() if role == "serve" else call_sync()
else:
    asyncio.run(serve_aio() if role == "serve" else call_aio())
