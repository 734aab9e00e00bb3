#!/usr/bin/env bash
# A MinIO server on a free port of this machine, for tests and for trying out. Each server lives in a folder of its own.
set -euo pipefail

usage() {
    cat <<'TEXT'
minio.sh install              makes sure that there is a program minio, and prints its path
minio.sh where                prints its path, or fails where there is none
minio.sh start DIR [BUCKET]   starts a server on DIR, waits until it is ready, makes BUCKET, prints its address
minio.sh bucket DIR BUCKET    makes a bucket
minio.sh stop DIR             stops it
minio.sh kill DIR             kill -9
minio.sh pause DIR            SIGSTOP: connections stay, nobody answers
minio.sh resume DIR           SIGCONT
minio.sh restart DIR          starts it again on the same port and data

The program is the one of MINIO_BIN, of ${AFFERENT_SERVERS:-$HOME/.cache/afferent/servers}/bin, of PATH, or of Go's own folder of programs; where there is
none, `install` builds the newest with Go, as a Go module.

User and password are MINIO_ROOT_USER and MINIO_ROOT_PASSWORD (afferent, afferent-secret). With MINIO_TLS=1 the server has a certificate that an
authority of its own signed: DIR/certs/CAs/ca.crt.
TEXT
}

servers=${AFFERENT_SERVERS:-${HOME:?}/.cache/afferent/servers}
export MINIO_ROOT_USER=${MINIO_ROOT_USER:-afferent} MINIO_ROOT_PASSWORD=${MINIO_ROOT_PASSWORD:-afferent-secret}
region=us-east-1
ready_s=60

fail() { printf 'minio.sh: %s\n' "$*" >&2; exit 1; }

find_program() {
    local candidate
    for candidate in "${MINIO_BIN:-}" "$servers/bin/minio" "$(command -v minio || true)" "$(go env GOPATH 2>/dev/null || true)/bin/minio"; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then printf '%s\n' "$candidate"; return 0; fi
    done
    return 1
}

# Go before 1.21 cannot fetch a newer one by itself, but as a module, whose programs it leaves without leave to run.
go_program() {
    case $(go env GOVERSION) in
        go1.[0-9] | go1.[0-9].* | go1.1[0-9]* | go1.20*) ;;
        *) echo go; return ;;
    esac
    local module
    module=golang.org/toolchain@v0.0.1-go1.21.13.$(go env GOOS)-$(go env GOARCH)
    (cd "$servers" && go mod download "$module" >&2)
    module=$(go env GOMODCACHE)/$module
    chmod -R u+w "$module"
    chmod +x "$module"/bin/*
    find "$module/pkg/tool" -type f -exec chmod +x {} +
    printf '%s\n' "$module/bin/go"
}

install_program() {
    find_program && return 0
    command -v go >/dev/null || fail "needs Go to build minio: install it, or put a program minio on PATH"
    mkdir -p "$servers/bin"
    # One builds, whoever comes meanwhile waits and finds it.
    exec 9>"$servers/minio.lock"
    flock 9
    find_program && return 0
    local built builder
    builder=$(go_program)
    built=$(mktemp -d "$servers/minio.XXXXXX")
    # A Go that is older than minio asks for fetches the one that it needs.
    GOBIN=$built GOTOOLCHAIN=auto GOFLAGS=-modcacherw "$builder" install github.com/minio/minio@latest >&2 || { rm -rf "$built"; fail "minio could not be built"; }
    mv "$built/minio" "$servers/bin/minio"
    rmdir "$built"
    find_program
}

# Below those that the system hands out by itself: one of those could be some client's when the server comes back.
free_port() {
    python3 - <<'END'
import random, socket
while True:
    port = random.randrange(31000, 32768)
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break
END
}

# An authority and a certificate of it for 127.0.0.1, where they are missing.
make_certificates() {
    local certs=$1/certs
    [ -e "$certs/public.crt" ] && return
    mkdir -p "$certs/CAs"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=afferent-test-authority -keyout "$certs/ca.key" -out "$certs/CAs/ca.crt" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout "$certs/private.key" -out "$certs/server.csr" 2>/dev/null
    printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n' >"$certs/server.ext"
    openssl x509 -req -in "$certs/server.csr" -CA "$certs/CAs/ca.crt" -CAkey "$certs/ca.key" -CAcreateserial -days 30 -extfile "$certs/server.ext" \
        -out "$certs/public.crt" 2>/dev/null
    rm "$certs/server.csr" "$certs/server.ext" "$certs/CAs/"*.srl 2>/dev/null || true
}

scheme() { if [ -e "$1/certs/public.crt" ]; then echo https; else echo http; fi; }
address() { printf '%s://127.0.0.1:%s\n' "$(scheme "$1")" "$(cat "$1/port")"; }
curl_to() {
    local dir=$1
    shift
    local trust=()
    [ ! -e "$dir/certs/CAs/ca.crt" ] || trust=(--cacert "$dir/certs/CAs/ca.crt")
    curl -sS "${trust[@]}" --max-time 10 "$@"
}

runs() {
    local id line
    id=$(cat "$1/id" 2>/dev/null) || return 1
    # The number may have gone to another program since.
    line=$(tr '\0' ' ' <"/proc/$id/cmdline") 2>/dev/null || return 1
    [[ $line == *"$1/data"* ]]
}

signal() {
    runs "$2" || fail "no server runs on $2"
    kill "-$1" "$(cat "$2/id")"
}

launch() {
    local dir=$1 program options=()
    program=$(find_program) || fail "no program minio: run minio.sh install"
    if [ -e "$dir/certs/public.crt" ]; then options=(--certs-dir "$dir/certs"); fi
    # Requests are counted for whoever asks, and nothing is fetched from outside.
    MINIO_PROMETHEUS_AUTH_TYPE=public MINIO_UPDATE=off MINIO_BROWSER=off MINIO_CALLHOME_ENABLE=off setsid "$program" server --quiet \
        --address "127.0.0.1:$(cat "$dir/port")" --console-address "127.0.0.1:$(cat "$dir/console")" "${options[@]}" "$dir/data" \
        >>"$dir/minio.log" 2>&1 </dev/null 9>&- &
    echo $! >"$dir/id"
    # Until it has become that program it cannot be told from one that has ended.
    while kill -0 $! 2>/dev/null && ! runs "$dir"; do sleep 0.01; done
    local end=$((SECONDS + ready_s))
    until curl_to "$dir" -f -o /dev/null "$(address "$dir")/minio/health/ready" 2>/dev/null; do
        runs "$dir" || { tail -n 20 "$dir/minio.log" >&2; fail "the server on $dir ended"; }
        [ "$SECONDS" -lt "$end" ] || fail "the server on $dir is not ready after $ready_s s"
        sleep 0.1
    done
}

# A bucket is made by a signed request, as every client does it.
make_bucket() {
    local dir=$1 bucket=$2 status end=$((SECONDS + ready_s))
    while :; do
        status=$(curl_to "$dir" -o "$dir/answer" -w '%{http_code}' -X PUT --aws-sigv4 "aws:amz:$region:s3" --user "$MINIO_ROOT_USER:$MINIO_ROOT_PASSWORD" \
            "$(address "$dir")/$bucket") || status=000
        case $status in
            200 | 409) return ;;
            5?? | 000) [ "$SECONDS" -lt "$end" ] || fail "bucket $bucket could not be made: $status $(cat "$dir/answer")" ;;
            *) fail "bucket $bucket could not be made: $status $(cat "$dir/answer")" ;;
        esac
        sleep 0.1
    done
}

absolute() { (mkdir -p "$1" && cd "$1" && pwd); }

command=${1:-}
case $command in
    install) install_program ;;
    where) find_program || fail "no program minio: run minio.sh install" ;;
    start)
        dir=$(absolute "${2:?which folder}")
        ! runs "$dir" || fail "a server runs on $dir already"
        mkdir -p "$dir/data"
        [ "${MINIO_TLS:-}" != 1 ] || make_certificates "$dir"
        # A port may be taken between the look and the start: then another is tried.
        for try in 1 2 3; do
            free_port >"$dir/port"
            free_port >"$dir/console"
            if (launch "$dir"); then break; fi
            [ "$try" -lt 3 ] || fail "the server on $dir could not be started"
        done
        [ -z "${3:-}" ] || make_bucket "$dir" "$3"
        address "$dir"
        ;;
    bucket) make_bucket "$(absolute "${2:?which folder}")" "${3:?which bucket}" ;;
    restart)
        dir=$(absolute "${2:?which folder}")
        [ -e "$dir/port" ] || fail "no server was started on $dir"
        if runs "$dir"; then kill -KILL "$(cat "$dir/id")"; while runs "$dir"; do sleep 0.05; done; fi
        launch "$dir"
        address "$dir"
        ;;
    stop)
        dir=$(absolute "${2:?which folder}")
        if runs "$dir"; then
            # One that stands still hears nothing.
            kill -CONT "$(cat "$dir/id")" || true
            kill -TERM "$(cat "$dir/id")" || true
            for _ in $(seq 100); do runs "$dir" || break; sleep 0.05; done
            ! runs "$dir" || kill -KILL "$(cat "$dir/id")" || true
        fi
        ;;
    kill) signal KILL "$(absolute "${2:?which folder}")" ;;
    pause) signal STOP "$(absolute "${2:?which folder}")" ;;
    resume) signal CONT "$(absolute "${2:?which folder}")" ;;
    -h | --help | help) usage ;;
    *) usage >&2; exit 2 ;;
esac
