"""Asks a URL again and again, a new connection each time.

client.py URL COUNT              ask COUNT times; print "name source" for each answer
client.py URL until-gone NAME    ask until 300 answers in a row come from others than NAME;
                                 print the wall-clock time of the last answer from NAME (0: none)
client.py URL until-back NAME    ask until NAME answers; print the wall-clock time of that answer

Every kind gives up after 20 seconds and exits with 1.
"""
import sys
import time
import urllib.request

GIVE_UP_SECONDS = 20
IN_A_ROW = 300


def ask(url):
    with urllib.request.urlopen(url, timeout=2) as answer:
        return answer.read().decode().split()


def main():
    url, what = sys.argv[1], sys.argv[2]
    deadline = time.monotonic() + GIVE_UP_SECONDS
    if what.isdigit():
        for _ in range(int(what)):
            print(*ask(url))
        return 0
    name, last_seen, others = sys.argv[3], 0.0, 0
    while time.monotonic() < deadline:
        answered_by = ask(url)[0]
        if answered_by == name:
            last_seen, others = time.time(), 0
            if what == "until-back":
                break
        else:
            others += 1
            if what == "until-gone" and others == IN_A_ROW:
                break
    else:
        return 1
    print(last_seen)
    return 0


sys.exit(main())
