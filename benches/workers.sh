#!/usr/bin/env bash
# How fast one process, and two, each held to a core of its own, work off the same samples that wait in Kafka, where each partition has an engine of its own.
# Needs two cores, taskset, curl, python3 and what tests/servers need. Prints for each run: samples, seconds, samples a second, processor seconds.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
workers.sh [--build release|debug] [--hosts N] [--scrapes N] [--partitions N]     (release, 100, 60, 8)
TEXT
}

build=release hosts=100 scrapes=60 partitions=8
# Less than the session of the group, which is 9 s.
spread_s=15 still_s=7
while [ $# -gt 0 ]; do
    case $1 in
        --build) build=$2 ;;
        --hosts) hosts=$2 ;;
        --scrapes) scrapes=$2 ;;
        --partitions) partitions=$2 ;;
        --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift 2
done
target=${CARGO_TARGET_DIR:-target}/$build
folder=$(mktemp -d)
pids=()
end() {
    kill -9 "${pids[@]}" 2>/dev/null || true
    tests/servers/kafka.sh stop "$folder/kafka" >/dev/null 2>&1 || true
    tests/servers/minio.sh stop "$folder/minio" >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap end EXIT

brokers=$(tests/servers/kafka.sh start "$folder/kafka" 1 $$)
store=$(tests/servers/minio.sh start "$folder/minio" lake)
export AWS_ACCESS_KEY_ID=afferent AWS_SECRET_ACCESS_KEY=afferent-secret AWS_ENDPOINT_URL=$store AWS_REGION=us-east-1

# prepare RUN: the configuration of a run, with topics and a prefix of its own.
prepare() {
    mkdir -p "$folder/$1"
    cat >"$folder/$1/afferent.toml" <<TOML
[server]
engine_per_partition = true
[log]
url = "kafka://$brokers"
topic_prefix = "$1"
partitions = $partitions
[store]
url = "s3://lake/$1"
TOML
}

# begin RUN NAME CORE ROLES: starts a process on a core; its port is NAME's.
begin() {
    mkdir -p "$folder/$1/$2"
    taskset -c "$3" "$target/afferent" serve --config "$folder/$1/afferent.toml" --data "$folder/$1/$2" --listen "127.0.0.1:$(port "$2")" --roles "$4" \
        >"$folder/$1/$2.log" 2>&1 &
    pids+=($!)
    last=$!
}

port() { case $1 in door) echo 19711 ;; first) echo 19712 ;; *) echo 19713 ;; esac }

cpu() { python3 -c "import sys; f=open('/proc/'+sys.argv[1]+'/stat').read().rsplit(')',1)[1].split(); print((int(f[11])+int(f[12]))/100)" "$1"; }

# run COUNT NAME: so many workers stand still while samples are sent, not so long that the group gives them up, and then work them off.
run() {
    local count=$1 name=workers-$2 workers=()
    prepare "$name"
    begin "$name" first 0 work,query
    workers+=("$last")
    if [ "$count" = 2 ]; then
        begin "$name" second 1 work,query
        workers+=("$last")
    fi
    begin "$name" door 0,1 intake
    local door=$last
    until curl -sf "http://127.0.0.1:19711/healthz" >/dev/null; do sleep 0.2; done
    # Time for the partitions to be spread.
    sleep "$spread_s"
    kill -STOP "${workers[@]}"
    timeout "$still_s" "$target/load" --url "http://127.0.0.1:19711/api/v1/write" --hosts "$hosts" --scrapes "$scrapes" --settle-seconds 0 >/dev/null ||
        echo "not everything was sent in $still_s s: take fewer scrapes"
    kill -CONT "${workers[@]}"
    python3 - "$count" "$((hosts * scrapes * 507))" <<'PY'
import sys, time, urllib.request
ports, wanted = [19712, 19713][: int(sys.argv[1])], int(sys.argv[2])
def taken(port):
    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith("afferent_engine_samples_in_total"))
began, seen = time.time(), []
while time.time() - began < 120:
    each = [taken(port) for port in ports]
    seen.append((time.time() - began, sum(each)))
    if sum(each) >= wanted:
        break
    time.sleep(0.02)
# Between a tenth and nine tenths of the samples: without the start and the tail.
low, high = (next((at, done) for at, done in seen if done >= wanted * share) for share in (0.1, 0.9))
rate = (high[1] - low[1]) / max(high[0] - low[0], 1e-9)
print(f"{len(ports)} workers: {seen[-1][1]:.0f} samples ({' + '.join(f'{n:.0f}' for n in each)}) in {seen[-1][0]:.2f} s, {rate:,.0f} a second in between")
PY
    for worker in "${workers[@]}"; do printf 'process on its core: %s processor seconds\n' "$(cpu "$worker")"; done
    kill "$door" "${workers[@]}"
    wait "$door" "${workers[@]}" || true
}

run 1 a
run 2 b
run 1 c
run 2 d
