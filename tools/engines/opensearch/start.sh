#!/usr/bin/env bash
# start.sh DATA [PORT]: starts one node on 127.0.0.1 and returns when it answers. It begins empty each time.
set -euo pipefail
home=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: start.sh DATA [PORT]}"
data=$(cd "$1" && pwd)
ports() { # two free ports
  python3 - <<'P'
import socket
held = [socket.socket() for _ in range(2)]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])
P
}
read -r port transport < <(ports)
port=${2:-$port}
echo "$port" >"$data/port"
rm -rf "$data/node"
mkdir -p "$data/node"
java -Xms256m "-Xmx${OS_HEAP:-512m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$home/classes:$home/lib/*" \
  StartNode "$data/node" "$port" "$transport" >>"$data/log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$data/pid"
for _ in $(seq 1 1200); do
  kill -0 "$pid" 2>/dev/null || { tail -n 30 "$data/log" >&2; exit 1; }
  if curl -sf "http://127.0.0.1:$port/_cluster/health?wait_for_status=yellow&timeout=1s" >/dev/null 2>&1; then
    echo "opensearch: http://127.0.0.1:$port, process $pid"
    exit 0
  fi
  sleep 0.1
done
echo "opensearch: not ready after 120 s" >&2
exit 1
