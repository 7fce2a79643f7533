"""Prints the packages that failed, from the JSON lines of go test. Prints nothing where trying again says nothing: a data race, or what does not build."""
import json
import sys

failed = set()
with open(sys.argv[1], encoding="utf-8", errors="replace") as lines:
    for line in lines:
        if "WARNING: DATA RACE" in line:
            sys.exit()
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["Action"] == "build-fail":
            sys.exit()
        if event["Action"] == "fail":
            failed.add(event["Package"])
print(*sorted(failed))
