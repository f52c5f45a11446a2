"""calls.py serve PORT SEND RECEIVE / calls.py ask PORT SEND RECEIVE COUNT

One end of HTTP connections that uses the named system calls and no others. The
server answers every request with 5,000 bytes; the client posts 3,000 bytes COUNT
times over one connection.
"""
import ctypes
import os
import select
import socket
import sys
import tempfile

libc = ctypes.CDLL(None, use_errno=True)


class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32),
        ("iov", ctypes.POINTER(iovec)), ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int),
    ]


class mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", msghdr), ("len", ctypes.c_uint)]


def messages(buffers):
    """An array for sendmmsg and recvmmsg of one message with one vector a buffer."""
    vectors = [
        (iovec * 1)(iovec(ctypes.cast(buffer, ctypes.c_void_p), len(buffer)))
        for buffer in buffers
    ]
    array = (mmsghdr * len(buffers))()
    for one, vector in zip(array, vectors):
        one.hdr.iov, one.hdr.iovlen = vector, 1
    array.keep = vectors
    return array


def cut(head, body):
    """Buffers whose borders are in the worst places."""
    whole = head + body
    ends = [0, 0, 1, 7, 7, len(head) - 3, len(head) - 1, len(head) + 10, len(whole)]
    return [whole[a:b] for a, b in zip(ends, ends[1:])]


def whole(call, data):
    """Calls until all of `data` is gone; works for non-blocking sockets, too."""
    while data:
        try:
            data = data[call(data):]
        except BlockingIOError:
            pass


def vectors(call, buffers):
    while buffers:
        sent = call(buffers)
        while buffers and sent >= len(buffers[0]):
            sent -= len(buffers.pop(0))
        if buffers:
            buffers[0] = buffers[0][sent:]


def sendmmsg(sock, head, body):
    buffers = [ctypes.create_string_buffer(b, len(b)) for b in cut(head, body) if b]
    array = messages(buffers)
    done = 0
    while done < len(buffers):
        rest = ctypes.byref(array, done * ctypes.sizeof(mmsghdr))
        sent = libc.sendmmsg(sock.fileno(), rest, len(buffers) - done, 0)
        if sent < 0:
            raise OSError(ctypes.get_errno(), "sendmmsg")
        for index in range(done, done + sent):
            assert array[index].len == len(buffers[index]), "partial message"
        done += sent


def sendfile(sock, head, body):
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        whole(sock.send, head)
        done = 0
        while done < len(body):
            done += os.sendfile(sock.fileno(), file.fileno(), done, len(body) - done)


def splice(sock, head, body):
    whole(sock.send, head)
    reader, writer = os.pipe()
    os.write(writer, body)
    left = len(body)
    while left:
        left -= os.splice(reader, sock.fileno(), left)
    os.close(reader)
    os.close(writer)


def nonblocking(sock, head, body):
    """Write what fits, wait, write on: most writes are partial."""
    sock.setblocking(False)
    data = head + body
    while data:
        select.select([], [sock], [])
        try:
            data = data[os.write(sock.fileno(), data):]
        except BlockingIOError:
            pass
    sock.setblocking(True)


SEND = {
    "write": lambda s, h, b: whole(lambda d: os.write(s.fileno(), d), h + b),
    "writev": lambda s, h, b: vectors(lambda v: os.writev(s.fileno(), v), cut(h, b)),
    "send": lambda s, h, b: whole(s.send, h + b),
    "sendmsg": lambda s, h, b: vectors(s.sendmsg, cut(h, b)),
    "sendmmsg": sendmmsg,
    "sendfile": sendfile,
    "splice": splice,
    "nonblocking": nonblocking,
}


def scatter(call, lens=(1, 2, 30, 500, 4000)):
    buffers = [bytearray(n) for n in lens]
    got = call(buffers)
    return b"".join(buffers)[:got]


def recvmmsg(sock):
    buffers = [ctypes.create_string_buffer(n) for n in (5, 40, 1000, 4000)]
    array = messages(buffers)
    got = libc.recvmmsg(sock.fileno(), array, len(buffers), 0x10000, None)  # MSG_WAITFORONE
    if got < 0:
        raise OSError(ctypes.get_errno(), "recvmmsg")
    return b"".join(buffers[i].raw[: array[i].len] for i in range(got))


def peek(sock):
    """Looks twice before it takes, and takes less than it saw."""
    sock.recv(4096, socket.MSG_PEEK)
    sock.recvmsg_into([bytearray(4096)], 0, socket.MSG_PEEK)
    return sock.recv(777)


RECEIVE = {
    "read": lambda s: os.read(s.fileno(), 1400),
    "readv": lambda s: scatter(lambda b: os.readv(s.fileno(), b)),
    "recv": lambda s: s.recv(65536),
    "recvmsg": lambda s: scatter(lambda b: s.recvmsg_into(b)[0]),
    "recvmmsg": recvmmsg,
    "peek": peek,
}

role, port, send, receive = sys.argv[1], int(sys.argv[2]), SEND[sys.argv[3]], RECEIVE[sys.argv[4]]


def message(sock, pending):
    """Receives one message with a Content-Length; returns what came after it."""
    while b"\r\n\r\n" not in pending:
        data = receive(sock)
        if not data:
            return None
        pending += data
    head, _, rest = pending.partition(b"\r\n\r\n")
    length = next(
        (int(v) for k, _, v in (l.partition(b":") for l in head.split(b"\r\n")) if k.lower() == b"content-length"), 0
    )
    while len(rest) < length:
        rest += receive(sock)
    return rest[length:]


if role == "serve":
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        pending = b""
        while (pending := message(sock, pending)) is not None:
            send(sock, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"r" * 5000)
        sock.close()
else:
    sock = socket.create_connection(("127.0.0.1", port))
    pending = b""
    for number in range(int(sys.argv[5])):
        head = b"POST /%s/%s/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n" % (
            sys.argv[3].encode(), sys.argv[4].encode(), number,
        )
        send(sock, head, b"q" * 3000)
        pending = message(sock, pending)
