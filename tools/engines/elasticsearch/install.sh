#!/usr/bin/env bash
# install.sh HOME: lays out a node's program and the scripts that run it under HOME (about 45 MiB; Maven's own cache aside, nothing is written elsewhere).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: install.sh HOME}"
home=$(cd "$1" && pwd)
rm -rf "$home/lib" "$home/modules" "$home/classes"
mvn -B -q -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$home/lib"
(cd "$home/lib" && sha256sum --quiet --strict -c "$here/jars.sha256" && test "$(ls | wc -l)" -eq "$(wc -l <"$here/jars.sha256")") ||
  { echo "elasticsearch: the jars are not those of jars.sha256" >&2; exit 1; }
mkdir -p "$home/modules/transport-netty4" "$home/modules/rest-shim" "$home/classes"
# A module has a class loader of its own, so its jars must not be on the class path too.
mv "$home"/lib/netty-*.jar "$home"/lib/transport-netty4-*.jar "$home/modules/transport-netty4/"
javac -nowarn -d "$home/classes" -cp "$home/lib/*" "$here/StartNode.java"
javac -nowarn -d "$home/classes/shim" -cp "$home/lib/*" "$here/RestShim.java"
jar -cf "$home/modules/rest-shim/rest-shim.jar" -C "$home/classes/shim" .
rm -rf "$home/classes/shim"
version=$(basename "$home"/lib/elasticsearch-[0-9]*.jar .jar)
version=${version#elasticsearch-}
descriptor() { # NAME CLASS
  printf '%s\n' "description=$1" "version=$version" "name=$1" "classname=$2" java.version=17 "elasticsearch.version=$version" \
    >"$home/modules/$1/plugin-descriptor.properties"
}
descriptor transport-netty4 org.elasticsearch.transport.netty4.Netty4Plugin
descriptor rest-shim RestShim
cp "$here/start.sh" "$here/stop.sh" "$home/"
