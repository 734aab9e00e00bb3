#!/usr/bin/env bash
# The same bytes to afferent and to Debian's victoria-metrics, one after the other, on this machine.
# Usage: benches/peers.sh [flags of `load`], for example: benches/peers.sh --hosts 100 --scrapes 120 --rate half
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
cargo build --release -p afferent-api --bin afferent -p afferent-benches --bin load
data=$(mktemp -d)
pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait || true
    rm -rf "$data"
}
trap stop EXIT

# Waits until a URL answers 200.
ready() {
    for _ in $(seq 1 300); do
        if curl --fail --silent --output /dev/null "$1"; then return; fi
        sleep 0.1
    done
    echo "no answer from $1" >&2
    exit 1
}

echo "commit $(git rev-parse --short HEAD), $(nproc) cores, $(date -u +%F)"

echo "== afferent"
"$target/release/afferent" serve --listen 127.0.0.1:19600 --data "$data/afferent" >"$data/afferent.log" 2>&1 &
pids+=($!)
ready http://127.0.0.1:19600/readyz
"$target/release/load" --url http://127.0.0.1:19600/api/v1/write --pid "${pids[-1]}" --data "$data/afferent" --disk-after-seconds 60 "$@"
kill "${pids[-1]}"
wait "${pids[-1]}" || true

if command -v victoria-metrics >/dev/null; then
    echo "== $(victoria-metrics -version 2>&1 | head -n 1)"
    victoria-metrics -httpListenAddr=127.0.0.1:18428 -storageDataPath="$data/victoria" -retentionPeriod=1 >"$data/victoria.log" 2>&1 &
    pids+=($!)
    ready http://127.0.0.1:18428/health
    "$target/release/load" --url http://127.0.0.1:18428/api/v1/write --pid "${pids[-1]}" --data "$data/victoria" --settle-seconds 35 "$@"
else
    echo "victoria-metrics is not installed (Debian: apt-get install victoria-metrics): nothing to compare with" >&2
fi
