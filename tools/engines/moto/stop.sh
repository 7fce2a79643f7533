#!/usr/bin/env bash
# stop.sh DATA [SIGNAL]: ends what start.sh began and waits until it is gone. SIGNAL: TERM unless told, KILL for a crash.
set -euo pipefail
data=${1:?usage: stop.sh DATA [SIGNAL]}
pid=$(cat "$data/pid")
kill "-${2:-TERM}" "$pid" 2>/dev/null || true
for _ in $(seq 1 600); do kill -0 "$pid" 2>/dev/null || { rm -f "$data/pid"; exit 0; }; sleep 0.1; done
echo "process $pid is still there after 60 s" >&2
exit 1
