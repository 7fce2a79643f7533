#!/usr/bin/env bash
# start.sh DATA [PORT]: starts one node on 127.0.0.1 and returns when it answers. What it keeps is in DATA and there at the next start.
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
if [ ! -f "$data/port" ]; then
  read -r port transport < <(ports)
  echo "$transport" >"$data/transport-port"
  echo "${2:-$port}" >"$data/port"
fi
port=$(cat "$data/port")
mkdir -p "$data/config" "$data/tmp"
ln -sfn "$home/modules" "$data/modules"
mkdir -p "$data/plugins"
cat >"$data/config/elasticsearch.yml" <<Y
cluster.name: test
node.name: n1
discovery.type: single-node
network.host: 127.0.0.1
http.port: $port
transport.port: $(cat "$data/transport-port")
cluster.routing.allocation.disk.threshold_enabled: false
cluster.max_shards_per_node: 5000
Y
cat >"$data/config/log4j2.properties" <<'P'
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
P
java -Xms256m "-Xmx${ES_HEAP:-512m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir="$data/tmp" \
  -Dlog4j2.configurationFile="$data/config/log4j2.properties" -Dlog4j2.formatMsgNoLookups=true -Djava.awt.headless=true \
  -Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true -Dio.netty.recycler.maxCapacityPerThread=0 \
  -cp "$home/classes:$home/lib/*" StartNode "$data" >>"$data/log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$data/pid"
for _ in $(seq 1 1200); do
  kill -0 "$pid" 2>/dev/null || { tail -n 30 "$data/log" >&2; exit 1; }
  if curl -sf "http://127.0.0.1:$port/_cluster/health?wait_for_status=yellow&timeout=1s" >/dev/null 2>&1; then
    echo "elasticsearch: http://127.0.0.1:$port, process $pid"
    exit 0
  fi
  sleep 0.1
done
echo "elasticsearch: not ready after 120 s" >&2
exit 1
