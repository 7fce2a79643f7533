#!/usr/bin/env bash
# start.sh DATA [PORT]: starts the PostgreSQL of Debian's package on 127.0.0.1 and returns when it answers. What it keeps is in DATA and there at the next start.
# The server refuses to run as root, so root runs it as the user postgres. Everybody on the machine is its superuser.
set -euo pipefail
mkdir -p "${1:?usage: start.sh DATA [PORT]}"
data=$(cd "$1" && pwd)
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
as=()
if [ "$(id -u)" -eq 0 ]; then
  as=(runuser -u postgres --)
  chown postgres "$data"
fi
if [ ! -f "$data/port" ]; then
  echo "${2:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}" >"$data/port"
fi
port=$(cat "$data/port")
cd "$data" # where the user postgres may be, too
[ -f "$data/data/PG_VERSION" ] || "${as[@]}" "$bin/initdb" -D "$data/data" -A trust -U postgres -E UTF8 >/dev/null
"${as[@]}" "$bin/pg_ctl" -w -D "$data/data" -l "$data/log" \
  -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$data -c fsync=off" start >/dev/null || { tail -n 20 "$data/log" >&2; exit 1; }
head -n 1 "$data/data/postmaster.pid" >"$data/pid"
echo "postgresql: postgres://postgres@127.0.0.1:$port/postgres?sslmode=disable, process $(cat "$data/pid")"
