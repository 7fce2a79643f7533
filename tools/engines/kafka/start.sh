#!/usr/bin/env bash
# start.sh DATA [PORT]: starts one node, broker and controller, on 127.0.0.1 and returns when it answers. What it keeps is in DATA and there at the next start.
# DATA/port: plaintext; who connects there is a superuser. DATA/secure-port: TLS with DATA/ca.pem and SCRAM-SHA-512; there the ACLs hold, and nobody has a right.
set -euo pipefail
home=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: start.sh DATA [PORT]}"
data=$(cd "$1" && pwd)
ports() { # three free ports
  python3 - <<'P'
import socket
held = [socket.socket() for _ in range(3)]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])
P
}
if [ ! -f "$data/port" ]; then
  read -r port secure controller < <(ports)
  echo "$secure" >"$data/secure-port"
  echo "$controller" >"$data/controller-port"
  echo "${2:-$port}" >"$data/port"
fi
port=$(cat "$data/port") secure=$(cat "$data/secure-port") controller=$(cat "$data/controller-port")
if [ ! -f "$data/server.pem" ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=engines" -keyout "$data/ca.key" -out "$data/ca.pem" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=127.0.0.1" -keyout "$data/server.key" -out "$data/server.csr" 2>/dev/null
  openssl x509 -req -in "$data/server.csr" -CA "$data/ca.pem" -CAkey "$data/ca.key" -CAcreateserial -days 30 \
    -extfile <(echo "subjectAltName=IP:127.0.0.1,DNS:localhost") -out "$data/server.crt" 2>/dev/null
  cat "$data/server.key" "$data/server.crt" >"$data/server.pem"
fi
cat >"$data/server.properties" <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,SECURE://127.0.0.1:$secure,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SECURE://127.0.0.1:$secure
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=$data/server.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
log.dirs=$data/data
num.partitions=3
offsets.topic.num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=3
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
P
java=(java -Xms128m "-Xmx${KAFKA_HEAP:-512m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel="${KAFKA_LOG:-warn}" -cp "$home/lib/*")
if [ ! -f "$data/data/meta.properties" ]; then
  "${java[@]}" kafka.tools.StorageTool format --ignore-formatted -t MkU3OEVBNTcwNTJENDM2Qg -c "$data/server.properties" >"$data/format.log" 2>&1 ||
    { tail -n 20 "$data/format.log" >&2; exit 1; }
fi
"${java[@]}" kafka.Kafka "$data/server.properties" >>"$data/log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$data/pid"
for _ in $(seq 1 1200); do
  kill -0 "$pid" 2>/dev/null || { tail -n 20 "$data/log" >&2; exit 1; }
  if (exec 3<>"/dev/tcp/127.0.0.1/$port" 4<>"/dev/tcp/127.0.0.1/$secure") 2>/dev/null; then
    echo "kafka: 127.0.0.1:$port, with TLS and SCRAM 127.0.0.1:$secure, process $pid"
    exit 0
  fi
  sleep 0.1
done
echo "kafka: not ready after 120 s" >&2
exit 1
