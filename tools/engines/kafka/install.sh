#!/usr/bin/env bash
# install.sh HOME: puts the broker's jars and the scripts that run it under HOME (about 45 MiB; Maven's own cache aside, nothing is written elsewhere).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: install.sh HOME}"
home=$(cd "$1" && pwd)
rm -rf "$home/lib"
mvn -B -q -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$home/lib"
(cd "$home/lib" && sha256sum --quiet --strict -c "$here/jars.sha256" && test "$(ls | wc -l)" -eq "$(wc -l <"$here/jars.sha256")") ||
  { echo "kafka: the jars are not those of jars.sha256" >&2; exit 1; }
cp "$here/start.sh" "$here/stop.sh" "$home/"
