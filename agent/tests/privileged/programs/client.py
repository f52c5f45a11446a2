"""client.py HOST:PORT PLAN CONCURRENCY: makes the planned requests with the
`requests` package and prints one JSON line for each."""
import json
import queue
import sys
import threading
import time

import requests

base, plan, concurrency = "http://" + sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3])
todo = queue.SimpleQueue()
for planned in plan:
    todo.put(planned)
printing = threading.Lock()


def work():
    session = requests.Session()
    while True:
        try:
            planned = todo.get_nowait()
        except queue.Empty:
            return
        body = b"p" * planned["body"] or None
        start = time.perf_counter()
        response = session.request(
            planned["method"], base + planned["path"], data=body, params={"token": "secret"}
        )
        seconds = time.perf_counter() - start
        line = {
            "method": planned["method"],
            "path": planned["path"],
            "status": response.status_code,
            "sent": planned["body"],
            "received": len(response.content),
            "seconds": seconds,
        }
        with printing:
            print(json.dumps(line), flush=True)


threads = [threading.Thread(target=work) for _ in range(concurrency)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
