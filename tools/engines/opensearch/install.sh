#!/usr/bin/env bash
# install.sh HOME: puts a node's jars and the scripts that run it under HOME (about 55 MiB; Maven's own cache aside, nothing is written elsewhere).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: install.sh HOME}"
home=$(cd "$1" && pwd)
rm -rf "$home/lib" "$home/classes"
mvn -B -q -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$home/lib"
(cd "$home/lib" && sha256sum --quiet --strict -c "$here/jars.sha256" && test "$(ls | wc -l)" -eq "$(wc -l <"$here/jars.sha256")") ||
  { echo "opensearch: the jars are not those of jars.sha256" >&2; exit 1; }
mkdir -p "$home/classes"
javac -nowarn -d "$home/classes" -cp "$home/lib/*" "$here/StartNode.java"
cp "$here/start.sh" "$here/stop.sh" "$home/"
