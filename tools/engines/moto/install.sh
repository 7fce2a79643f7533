#!/usr/bin/env bash
# install.sh HOME: puts moto, with what its object store needs and no more, and the scripts that run it under HOME (about 140 MiB).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: install.sh HOME}"
home=$(cd "$1" && pwd)
python3 -m venv "$home/python"
"$home/python/bin/pip" install -q --disable-pip-version-check --no-deps -r "$here/requirements.txt"
"$home/python/bin/pip" check
cp "$here/start.sh" "$here/stop.sh" "$home/"
