"""hand_over.py MODE PORT: connections that are served by another process than the
one that accepted them. Prints the ids of the processes involved, one a line.

passed     every connection is sent to a worker in an SCM_RIGHTS message
between    the acceptor answers the first request, the worker the rest
inherited  every connection becomes standard input and output of a new process
"""
import os
import socket
import subprocess
import sys

mode, port = sys.argv[1], int(sys.argv[2])

ANSWER = """
import os
def serve(fd, count):
    while count:
        if not os.read(fd, 65536):
            return
        os.write(fd, b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nhello\\n")
        count -= 1
"""
exec(ANSWER)

listener = socket.create_server(("127.0.0.1", port), backlog=64)
if mode == "inherited":
    print(os.getpid(), flush=True)
    while True:
        sock, _ = listener.accept()
        worker = subprocess.Popen(
            [sys.executable, "-c", ANSWER + "serve(0, -1)"], stdin=sock, stdout=sock
        )
        sock.close()
        print(worker.pid, flush=True)
        worker.wait()

ours, theirs = socket.socketpair()
worker = os.fork()
if worker == 0:
    listener.close()
    while True:
        _, fds, _, _ = socket.recv_fds(theirs, 16, 1)
        if not fds:
            sys.exit()
        serve(fds[0], -1)
        os.close(fds[0])

print(os.getpid(), worker, sep="\n", flush=True)
while True:
    sock, _ = listener.accept()
    if mode == "between":
        serve(sock.fileno(), 1)
    socket.send_fds(ours, [b"connection"], [sock.fileno()])
    sock.close()
