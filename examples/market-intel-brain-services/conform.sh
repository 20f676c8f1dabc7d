#!/usr/bin/env bash
# How well each service of the Market Intel Brain ends, as a process that is asked to:
#
#   make conform-services                                        # all, some eight minutes
#   examples/market-intel-brain-services/conform.sh engine       # one, once they are built
#
# REQUESTS (2000) are sent in each stage at least, and TERMINATIONS (6) made. The services
# that are not tested run beside the one that is. Everything listens on loopback; what was
# started is ended, by its process id, and the folder is removed.
# Exit codes are those of conform: 0 reached, 1 not, 2 no such service, 3 not to be tested.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$PWD/bin/services conform=("$PWD/bin/evenkeel-rehearse" conform)
requests=${REQUESTS:-2000} terminations=${TERMINATIONS:-6} only=${1:-}
dir=$(mktemp -d)
finish() {
	local pids
	pids=$(jobs -pr)
	[[ -z $pids ]] || kill $pids 2>/dev/null || true # several words
	wait
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export KAFKA_BROKERS=127.0.0.1:17719

next=17800
run() { # name, arguments: starts a service, and returns when it is ready
	local name=$1 pid
	shift
	"$bin/$name" --health-listen="127.0.0.1:$next" --metrics-listen= "$@" >"$dir/$name.log" 2>&1 &
	pid=$!
	for _ in $(seq 300); do
		kill -0 $pid 2>/dev/null || break
		# Its own answer: another process at this port would have kept it from listening.
		if curl -fsS -m 1 "http://127.0.0.1:$next/readyz" >/dev/null 2>&1 && sleep 0.2 && kill -0 $pid 2>/dev/null; then
			next=$((next + 1))
			return
		fi
		sleep 0.2
	done
	echo "$name is not ready:" >&2
	cat "$dir/$name.log" >&2
	exit 3
}
run event-stream --listen=$KAFKA_BROKERS --data="$dir/broker"
bin/mib replay --brokers=$KAFKA_BROKERS --from 2020-01 --to 2020-04 --speed max >"$dir/replay.log"
run engine --listen=127.0.0.1:17721
run vector-store --listen=127.0.0.1:17722 --data="$dir/documents"

failed=() tested=0
judge() { # name, arguments of conform
	local name=$1 rc=0
	shift
	[[ -z $only || $only == "$name" ]] || return 0
	tested=$((tested + 1))
	printf '\n== %s\n' "$name"
	"${conform[@]}" --level C5 --requests "$requests" --terminations "$terminations" "$@" 2>"$dir/progress" || rc=$?
	((rc == 0)) || tail -5 "$dir/progress" >&2
	((rc <= 1)) || exit $rc
	((rc == 0)) || failed+=("$name")
}
ready=(--ready-path 'http://127.0.0.1:{health-port}/readyz')
at=(--listen='127.0.0.1:{port}' --health-listen='127.0.0.1:{health-port}' --metrics-listen=)
# Without a cache each of these reads asks the engine.
gateway=("$bin/go-gateway" --open --rate 0 --cache 0 --engine=http://127.0.0.1:17721 --vector-store=http://127.0.0.1:17722 "${at[@]}")
judge go-gateway "${ready[@]}" --rate 100 --get /v1/series --post /v1/ticks --sse /v1/alerts --websocket /v1/alerts \
	--body '{"id":"{id}","feed":"conform","symbol":"WTI","time":"2020-04-01T00:00:00Z","price":20.5}' -- "${gateway[@]}"
judge go-gateway-similar "${ready[@]}" --level C3 --rate 250 --get '/v1/similar?symbol=WTI&at=2020-03-09' -- "${gateway[@]}"
judge engine "${ready[@]}" --only-grpc --rate 1000 --grpc-call /mib.v1.EngineService/ListLive --grpc-watch /mib.v1.EngineService/StreamSignals -- \
	"$bin/engine" "${at[@]}"
judge vector-store "${ready[@]}" --only-grpc --no-streams --rate 200 --grpc-call /mib.v1.VectorStoreService/GetStatus -- \
	"$bin/vector-store" --data "$dir/copies/{port}" "${at[@]}"
# These two answer no requests of this kind: what is shown is that they end in time, by SIGTERM and by a notice. What
# they owe is tested by the acceptance test.
judge analytics --no-requests "${ready[@]}" -- \
	"$bin/analytics" --group conform --health-listen='127.0.0.1:{health-port}' --metrics-listen=
judge event-stream --no-requests "${ready[@]}" -- \
	"$bin/event-stream" --data "$dir/brokers/{port}" "${at[@]}"
if ((tested == 0)); then
	echo "there is no service $only" >&2
	exit 2
fi
if ((${#failed[@]})); then
	printf '\nnot reached: %s\n' "${failed[*]}"
	exit 1
fi
