#!/usr/bin/env bash
# Real Kafka brokers on free loopback ports, in a folder of their own: for tests and for trying things out. Not a way to run Kafka for real data.
set -euo pipefail

kafka_version=4.3.0
scala_version=2.13
log4j_version=2.25.3

root=${AFFERENT_SERVERS:-${HOME:?set AFFERENT_SERVERS or HOME}/.cache/afferent/servers}
home=$root/kafka-$kafka_version

# Seconds until brokers that were started must be ready; three of them share the machine with whatever else runs.
ready_wait_s=120
# Tries with other ports, should somebody take one between the look and the start.
tries_max=3

usage() {
    cat <<'END'
Real Kafka brokers (KRaft, version 4.3.0) on free ports of 127.0.0.1.

  kafka.sh install              fetch the brokers' jars with Maven; does nothing where they are; safe to run twice at once
  kafka.sh start DIR N [PID]    N (1 or 3) brokers with their data in DIR; prints HOST:PORT,... once they are ready.
                                With PID, they are killed when that process has ended
  kafka.sh stop DIR             kill all of them and wait for their end; the data stay
  kafka.sh kill DIR N           kill -9 broker N (1 to 3)
  kafka.sh pause DIR N          SIGSTOP
  kafka.sh resume DIR N         SIGCONT
  kafka.sh restart DIR N...     start brokers again that do not run, on their old ports, and wait until they are ready
  kafka.sh image DIR            one broker in the foreground, as the image apache/kafka makes it of its environment (CLUSTER_ID, KAFKA_*): by the
                                image's own class, which comes with the jars. Its settings lie in DIR, its data where KAFKA_LOG_DIRS says
  kafka.sh tool NAME ARGS...    one of Kafka's own tools, by its name there: kafka-topics.sh, kafka-configs.sh, kafka-console-producer.sh,
                                kafka-reassign-partitions.sh, kafka-broker-api-versions.sh

The jars lie in $AFFERENT_SERVERS/kafka-4.3.0 (default: $HOME/.cache/afferent/servers). Needs java 17 and, to install, mvn (Debian:
openjdk-17-jre-headless and maven). A broker's output is in DIR/N/output, its process id in DIR/N/pid.
END
}

fail() {
    echo "kafka.sh: $*" >&2
    exit 1
}

install() {
    [ -e "$home/complete" ] && return
    command -v java >/dev/null || fail "java is not installed (Debian: openjdk-17-jre-headless)"
    command -v mvn >/dev/null || fail "mvn is not installed (Debian: maven)"
    mkdir -p "$root"
    (
        flock 9
        [ -e "$home/complete" ] && exit
        work=$(mktemp -d "$root/kafka-XXXXXX")
        trap 'rm -rf "$work"' EXIT
        pom >"$work/pom.xml"
        cd "$work"
        mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=libs >&2
        log4j >"$work/log4j2.properties"
        touch complete
        rm -rf "$home"
        mkdir "$home"
        mv libs log4j2.properties complete "$home/"
    ) 9>"$root/kafka.lock"
    [ -e "$home/complete" ] || fail "the jars could not be fetched"
}

pom() {
    cat <<END
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>afferent</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_$scala_version</artifactId><version>$kafka_version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$kafka_version</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$log4j_version</version></dependency>
  </dependencies>
</project>
END
}

log4j() {
    cat <<'END'
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
END
}

# A port nobody listens on, below those the system hands out by itself.
free_port() {
    local port
    while :; do
        port=$((15000 + RANDOM % 16000))
        case " ${taken[*]-} " in *" $port "*) continue ;; esac
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
        taken+=("$port")
        found_port=$port
        return
    done
}

# Writes the settings of every broker.
configure() {
    local dir=$1 count=$2 n voters='' bootstrap='' replicas=1 in_sync=1 session_ms=${AFFERENT_BROKER_SESSION_MS:-9000}
    local -a broker=() controller=()
    taken=()
    [ "$count" -lt 3 ] || { replicas=3 in_sync=2; }
    for ((n = 1; n <= count; n++)); do
        free_port && broker[n]=$found_port
        free_port && controller[n]=$found_port
        voters+=${voters:+,}$n@127.0.0.1:${controller[n]}
        bootstrap+=${bootstrap:+,}127.0.0.1:${broker[n]}
    done
    for ((n = 1; n <= count; n++)); do
        rm -rf "${dir:?}/$n"
        mkdir -p "$dir/$n"
        cat >"$dir/$n/server.properties" <<END
process.roles=broker,controller
node.id=$n
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:${broker[n]},CONTROLLER://127.0.0.1:${controller[n]}
advertised.listeners=PLAINTEXT://127.0.0.1:${broker[n]}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/$n/data
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$in_sync
broker.session.timeout.ms=$session_ms
broker.heartbeat.interval.ms=$((session_ms * 2 / 9))
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
END
    done
    echo "$bootstrap" >"$dir/bootstrap"
    echo "$count" >"$dir/count"
}

java_run() {
    local heap=$1
    shift
    java "-Xmx$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$home/log4j2.properties" -cp "$home/libs/*" "$@"
}

format() {
    local dir=$1 count=$2 n id
    local -a jobs=()
    # A cluster's id is 16 bytes in URL-safe base64 that does not look like a flag.
    id=A$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)
    for ((n = 1; n <= count; n++)); do
        java_run 128m kafka.tools.StorageTool format -t "$id" -c "$dir/$n/server.properties" >"$dir/$n/format" 2>&1 &
        jobs+=($!)
    done
    for n in "${jobs[@]}"; do
        wait "$n" || { cat "$dir"/*/format >&2; fail "the brokers' folders could not be formatted"; }
    done
}

spawn() {
    local dir=$1 n=$2
    : >"$dir/$n/output"
    # A session of its own: a Ctrl-C in a terminal is not meant for it.
    setsid java -Xms128m -Xmx320m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$home/log4j2.properties" -cp "$home/libs/*" \
        kafka.Kafka "$dir/$n/server.properties" >>"$dir/$n/output" 2>&1 </dev/null 9>&- &
    echo $! >"$dir/$n/pid"
    # Until it has become that program it cannot be told from one that has ended.
    while kill -0 $! 2>/dev/null && ! running "$dir" "$n"; do sleep 0.01; done
}

# True while the process of that id is the broker, and not another that got its number.
running() {
    local pid
    pid=$(cat "$1/$2/pid" 2>/dev/null) && grep -qzF "/$2/server.properties" "/proc/$pid/cmdline" 2>/dev/null
}

# Waits until all of these brokers take requests; false when one of them ended before.
await_ready() {
    local dir=$1 n deadline=$((SECONDS + ready_wait_s))
    shift
    for n in "$@"; do
        until grep -q 'Kafka Server started' "$dir/$n/output"; do
            running "$dir" "$n" || return 1
            [ "$SECONDS" -lt "$deadline" ] || { tail -n 20 "$dir/$n/output" >&2; fail "broker $n was not ready after $ready_wait_s s"; }
            sleep 0.1
        done
    done
}

start() {
    local dir=$1 count=$2 parent=${3-} try n
    case $count in 1 | 3) ;; *) fail "start 1 or 3 brokers, not $count" ;; esac
    install
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    for ((try = 1; try <= tries_max; try++)); do
        configure "$dir" "$count"
        format "$dir" "$count"
        for ((n = 1; n <= count; n++)); do spawn "$dir" "$n"; done
        [ -z "$parent" ] || watch "$dir" "$parent"
        if await_ready "$dir" $(seq "$count"); then
            cat "$dir/bootstrap"
            return
        fi
        stop "$dir"
    done
    tail -n 5 "$dir"/*/output >&2
    fail "the brokers did not start"
}

# Kills the brokers once the process they are there for has ended; gives up when their folder is gone.
watch() {
    local dir=$1 parent=$2
    setsid bash -c 'while kill -0 "$2" 2>/dev/null && [ -d "$1" ]; do sleep 1; done; [ ! -d "$1" ] || "$0" stop "$1"' "$(realpath "$0")" "$dir" "$parent" >/dev/null 2>&1 </dev/null &
}

signal() {
    local name=$1 dir=$2 n=$3
    running "$dir" "$n" || fail "broker $n does not run"
    kill "-$name" "$(cat "$dir/$n/pid")"
}

gone() {
    local dir=$1 n=$2
    while running "$dir" "$n"; do sleep 0.02; done
    rm -f "$dir/$n/pid"
}

stop() {
    local dir=$1 pid
    for pid in "$dir"/*/pid; do
        [ -e "$pid" ] || continue
        local n
        n=$(basename "$(dirname "$pid")")
        if running "$dir" "$n"; then kill -KILL "$(cat "$pid")" 2>/dev/null || true; fi
        gone "$dir" "$n"
    done
}

restart() {
    local dir=$1 n
    shift
    dir=$(cd "$dir" && pwd)
    for n in "$@"; do
        running "$dir" "$n" && fail "broker $n runs"
        spawn "$dir" "$n"
    done
    await_ready "$dir" "$@" || { tail -n 20 "$dir"/*/output >&2; fail "a broker ended"; }
}

# Settings from nothing but the environment: a folder without files stands for the image's defaults, which it uses only where no variable is set.
image() {
    local dir=$1
    install
    mkdir -p "$dir/default" "$dir/mounted" "$dir/final"
    java_run 128m kafka.docker.KafkaDockerWrapper setup \
        --default-configs-dir "$dir/default" --mounted-configs-dir "$dir/mounted" --final-configs-dir "$dir/final"
    exec java -Xms128m -Xmx320m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$home/log4j2.properties" -cp "$home/libs/*" \
        kafka.Kafka "$dir/final/server.properties"
}

tool() {
    local class
    case $1 in
        kafka-topics.sh) class=org.apache.kafka.tools.TopicCommand ;;
        kafka-configs.sh) class=kafka.admin.ConfigCommand ;;
        kafka-console-producer.sh) class=org.apache.kafka.tools.ConsoleProducer ;;
        kafka-reassign-partitions.sh) class=org.apache.kafka.tools.reassign.ReassignPartitionsCommand ;;
        kafka-broker-api-versions.sh) class=org.apache.kafka.tools.BrokerApiVersionsCommand ;;
        *) fail "no tool $1; see --help" ;;
    esac
    shift
    install
    java_run 128m "$class" "$@"
}

want() {
    [ "$1" -ge "$2" ] || { usage >&2; exit 2; }
}

case ${1-} in
    install) install ;;
    start) want $# 3 && start "$2" "$3" "${4-}" ;;
    stop) want $# 2 && stop "$2" ;;
    kill) want $# 3 && signal KILL "$2" "$3" && gone "$2" "$3" ;;
    pause) want $# 3 && signal STOP "$2" "$3" ;;
    resume) want $# 3 && signal CONT "$2" "$3" ;;
    restart) want $# 3 && restart "${@:2}" ;;
    image) want $# 2 && image "$2" ;;
    tool) want $# 2 && tool "${@:2}" ;;
    -h | --help | help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
