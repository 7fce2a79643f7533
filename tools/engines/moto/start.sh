#!/usr/bin/env bash
# start.sh DATA [PORT]: starts an object store that speaks S3 on 127.0.0.1, in memory, and returns when it answers. Any credentials will do.
set -euo pipefail
home=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: start.sh DATA [PORT]}"
data=$(cd "$1" && pwd)
if [ ! -f "$data/port" ]; then
  echo "${2:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}" >"$data/port"
fi
port=$(cat "$data/port")
"$home/python/bin/moto_server" -H 127.0.0.1 -p "$port" >>"$data/log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$data/pid"
for _ in $(seq 1 600); do
  kill -0 "$pid" 2>/dev/null || { tail -n 20 "$data/log" >&2; exit 1; }
  if curl -sf "http://127.0.0.1:$port/moto-api/" >/dev/null 2>&1; then
    echo "moto: http://127.0.0.1:$port, process $pid"
    exit 0
  fi
  sleep 0.1
done
echo "moto: not ready after 60 s" >&2
exit 1
