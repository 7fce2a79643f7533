"""Prints the output of the tests that failed, from the JSON lines of go test."""
import collections
import json
import sys

output = collections.defaultdict(list)
failed = []
with open(sys.argv[1], encoding="utf-8", errors="replace") as lines:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            print(line.rstrip())
            continue
        key = (event.get("Package") or event.get("ImportPath", ""), event.get("Test", ""))
        if event["Action"] in ("output", "build-output"):
            output[key].append(event["Output"])
        elif event["Action"] in ("fail", "build-fail"):
            failed.append(key)
for key in reversed(failed):  # what failed in a test stands behind all that the tests around it printed, where the end of it is looked at
    print("---", *key)
    sys.stdout.write("".join(output[key][-60:]))
