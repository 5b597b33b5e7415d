#!/usr/bin/env bash
# Runs an OCI conformance program against a fresh server and judges its report.
#
#   test/conformance/run.sh PROGRAM
#
# PROGRAM is the binary of the OCI Distribution Specification's conformance tests, either that of its releases up to
# 1.1.1 (a test binary) or its successor. Both find their settings in the environment, under different names; this
# script sets those of both. What the caller has exported wins, for the program (OCI_*) as for the server (BERTH_*):
#
#   OCI_REGISTRY or OCI_ROOT_URL   where the server shall listen; otherwise on a free port of the loopback interface
#   OCI_VERSION                    the version of the specification, for the newer program: 1.1 (its default) or dev
#   OCI_REPORT_DIR                 where the reports go: conformance-results by default
#   BERTH                          the server's binary: bin/berth by default
#   BERTH_DATABASE_URL, BERTH_STORAGE_URL   an empty database and storage: the administrator whose token logs in is
#                                  created in it; otherwise a file and a folder, removed at the end
set -euo pipefail

if (( $# != 1 )); then
	echo "usage: $0 PROGRAM" >&2
	exit 2
fi
program=$(realpath -- "$1")
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
berth=$(realpath -- "${BERTH:-$root/bin/berth}")
for file in "$program" "$berth"; do
	[[ -x $file ]] || { echo "$file is not there, or is no program" >&2; exit 2; }
done

work=$(mktemp -d)
server=
cleanup() {
	local status=$?
	trap - EXIT
	if [[ -n $server ]]; then
		kill -TERM "$server" 2>/dev/null || true
		for (( i = 0; i < 100; i++ )); do
			kill -0 "$server" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	rm -rf -- "$work"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# listening tells whether somebody answers on a port of the loopback interface.
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
	local port
	while true; do
		port=$(( 20000 + RANDOM % 10000 ))
		listening "$port" || break
	done
	echo "$port"
}

# ready asks the server whether it is, and needs no other program for it.
ready() {
	(
		exec 3<>"/dev/tcp/${address%:*}/${address##*:}"
		printf 'GET /readyz HTTP/1.0\r\nHost: %s\r\n\r\n' "$address" >&3
		read -r -t 5 _ status _ <&3
		[[ $status == 200 ]]
	) 2>/dev/null
}

address=${OCI_REGISTRY:-}
if [[ -z $address && -n ${OCI_ROOT_URL:-} ]]; then
	address=${OCI_ROOT_URL#http://}
	address=${address%%/*}
fi
address=${address:-127.0.0.1:$(free_port)}
if [[ $address != *:* || ${OCI_ROOT_URL:-http://} != http://* ]]; then
	echo "the server under test speaks plain HTTP on a host and port of this machine, not ${OCI_ROOT_URL:-$address}" >&2
	exit 2
fi

secret=${BERTH_ADMIN_TOKEN:-${OCI_PASSWORD:-$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')}}
export BERTH_ADMIN_TOKEN=$secret
export BERTH_ADDR=$address
export BERTH_PUBLIC_URL=${BERTH_PUBLIC_URL:-http://$address}
export BERTH_METRICS_ADDR=${BERTH_METRICS_ADDR:-127.0.0.1:0}
export BERTH_DATABASE_URL=${BERTH_DATABASE_URL:-sqlite:$work/berth.db}
export BERTH_STORAGE_URL=${BERTH_STORAGE_URL:-file:$work/objects}

reports=${OCI_REPORT_DIR:-${OCI_RESULTS_DIR:-$root/conformance-results}}
[[ $reports != none ]] || reports=$work/reports # judged, but not kept
mkdir -p -- "$reports"
reports=$(realpath -- "$reports")
rm -f -- "$reports/junit.xml" "$reports/report.html"

# For both programs.
export OCI_USERNAME=${OCI_USERNAME:-conformance}
export OCI_PASSWORD=${OCI_PASSWORD:-$secret}
# For the releases up to 1.1.1. Manifests go before their blobs, which a registry must keep while they are in use.
export OCI_ROOT_URL=${OCI_ROOT_URL:-http://$address}
export OCI_NAMESPACE=${OCI_NAMESPACE:-conformance/repo}
export OCI_CROSSMOUNT_NAMESPACE=${OCI_CROSSMOUNT_NAMESPACE:-conformance/mount}
export OCI_AUTOMATIC_CROSSMOUNT=${OCI_AUTOMATIC_CROSSMOUNT:-1}
export OCI_TEST_PULL=${OCI_TEST_PULL:-1}
export OCI_TEST_PUSH=${OCI_TEST_PUSH:-1}
export OCI_TEST_CONTENT_DISCOVERY=${OCI_TEST_CONTENT_DISCOVERY:-1}
export OCI_TEST_CONTENT_MANAGEMENT=${OCI_TEST_CONTENT_MANAGEMENT:-1}
export OCI_DELETE_MANIFEST_BEFORE_BLOBS=${OCI_DELETE_MANIFEST_BEFORE_BLOBS:-1}
export OCI_HIDE_SKIPPED_WORKFLOWS=${OCI_HIDE_SKIPPED_WORKFLOWS:-0}
export OCI_REPORT_DIR=$reports
# For its successor. Its sparse data, off by default, has an image without its layers, which a registry may refuse.
export OCI_REGISTRY=$address
export OCI_TLS=${OCI_TLS:-disabled}
export OCI_REPO1=${OCI_REPO1:-$OCI_NAMESPACE}
export OCI_REPO2=${OCI_REPO2:-$OCI_CROSSMOUNT_NAMESPACE}
export OCI_RESULTS_DIR=$reports

cd -- "$work"
"$berth" serve >"$reports/server.log" 2>&1 &
server=$!
for (( i = 0; ; i++ )); do
	ready && break
	if (( i == 300 )) || ! kill -0 "$server" 2>/dev/null; then
		echo "the server does not answer on $address; it printed:" >&2
		tail -n 50 -- "$reports/server.log" >&2
		exit 1
	fi
	sleep 0.1
done

program_status=0
"$program" >"$reports/program.log" 2>&1 || program_status=$?
server_alive=1
kill -0 "$server" 2>/dev/null || server_alive=0

cd -- "$root"
judgement=0
go run ./test/conformance/judge "$reports/junit.xml" || judgement=$?
[[ $reports == "$work"/* ]] || echo "reports: $reports"
if (( judgement != 0 )); then
	tail -n 40 -- "$reports/program.log" >&2
	exit 1
fi
if (( program_status != 0 )); then
	echo "the program ended with $program_status although its report shows no failure; it printed:" >&2
	tail -n 40 -- "$reports/program.log" >&2
	exit 1
fi
if (( ! server_alive )); then
	echo 'the server ended before the program did; it printed:' >&2
	tail -n 50 -- "$reports/server.log" >&2
	exit 1
fi
