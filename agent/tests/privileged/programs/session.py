"""session.py URL COUNT: makes COUNT requests with one `requests` session, prints a
line, waits for a line, makes COUNT more and prints a line again."""
import sys

import requests

url, count = sys.argv[1], int(sys.argv[2])
session = requests.Session()
for part in ("before", "after"):
    for number in range(count):
        assert session.get(f"{url}/{part}-{number}").status_code == 200
    print(part, flush=True)
    sys.stdin.readline()
