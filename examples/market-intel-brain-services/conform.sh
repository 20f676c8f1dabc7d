#!/usr/bin/env bash
# How well each service of the Market Intel Brain ends, as a process that is asked to:
#
#   make conform-services        # some six minutes
#
# The services that are not tested run beside the one that is. Everything listens on
# loopback; what was started is ended, by its process id, and the folder is removed.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$PWD/bin/services conform="$PWD/bin/evenkeel-rehearse conform"
requests=${REQUESTS:-2000} terminations=${TERMINATIONS:-6} only=${1:-}
dir=$(mktemp -d)
pids=()
# A process that was killed outright is not waited for for long.
trap 'kill "${pids[@]}" 2>/dev/null || true; wait "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
export KAFKA_BROKERS=127.0.0.1:17719

run() { # name, arguments: starts a service, and waits until it is ready at port $next
	local name=$1
	shift
	"$bin/$name" --health-listen="127.0.0.1:$next" --metrics-listen= "$@" >"$dir/$name.log" 2>&1 &
	pids+=($!)
	for _ in $(seq 300); do
		curl -fsS "http://127.0.0.1:$next/readyz" >/dev/null 2>&1 && break
		kill -0 "${pids[-1]}" 2>/dev/null || { cat "$dir/$name.log" >&2; exit 3; }
		sleep 0.2
	done
	next=$((next + 1))
}
next=17800
run event-stream --listen=$KAFKA_BROKERS --data="$dir/broker"
bin/mib replay --brokers=$KAFKA_BROKERS --from 2020-01 --to 2020-04 --speed max >"$dir/replay.log"
run engine --listen=127.0.0.1:17721
run vector-store --listen=127.0.0.1:17722 --data="$dir/documents"

failed=()
test() { # name, arguments of conform
	local name=$1
	shift
	[[ -z $only || $only == "$name" ]] || return 0
	printf '\n== %s\n' "$name"
	$conform --level C5 --requests "$requests" --terminations "$terminations" "$@" 2>"$dir/progress" ||
		{ failed+=("$name"); tail -5 "$dir/progress"; }
}
ready=(--ready-path 'http://127.0.0.1:{health-port}/readyz')
at=(--listen='127.0.0.1:{port}' --health-listen='127.0.0.1:{health-port}' --metrics-listen=)
# Without a cache each of these reads asks the engine.
test go-gateway "${ready[@]}" --rate 100 --get /v1/series --post /v1/ticks --sse /v1/alerts --websocket /v1/alerts \
	--body '{"id":"{id}","feed":"conform","symbol":"WTI","time":"2020-04-01T00:00:00Z","price":20.5}' -- \
	"$bin/go-gateway" --open --rate 0 --cache 0 --engine=http://127.0.0.1:17721 --vector-store=http://127.0.0.1:17722 "${at[@]}"
test go-gateway-similar "${ready[@]}" --level C3 --rate 250 --get '/v1/similar?symbol=WTI&at=2020-03-09' -- \
	"$bin/go-gateway" --open --rate 0 --cache 0 --engine=http://127.0.0.1:17721 --vector-store=http://127.0.0.1:17722 "${at[@]}"
test engine "${ready[@]}" --only-grpc --rate 1000 --grpc-call /mib.v1.EngineService/ListLive --grpc-watch /mib.v1.EngineService/StreamSignals -- \
	"$bin/engine" "${at[@]}"
test vector-store "${ready[@]}" --only-grpc --no-streams --rate 200 --grpc-call /mib.v1.VectorStoreService/GetStatus -- \
	"$bin/vector-store" --data "$dir/copies/{port}" "${at[@]}"
# These two answer no requests of this kind: what is shown is that they end in time, by SIGTERM and by a notice. What
# they owe is tested by the acceptance test.
test analytics --no-requests "${ready[@]}" -- \
	"$bin/analytics" --group conform --health-listen='127.0.0.1:{health-port}' --metrics-listen=
test event-stream --no-requests "${ready[@]}" -- \
	"$bin/event-stream" --data "$dir/brokers/{port}" "${at[@]}"
if ((${#failed[@]})); then
	printf '\nnot reached: %s\n' "${failed[*]}"
	exit 1
fi
