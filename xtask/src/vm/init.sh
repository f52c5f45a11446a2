#!/bin/busybox sh
# Runs as process 1 of the test machine: starts real servers, traces real requests,
# and prints everything on the second serial port, in sections that begin with `@@`.
export PATH=/bin:/sbin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tracefs tracefs /sys/kernel/tracing
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
ip link set lo up

echo "@@ kernel"
uname -r

nginx -e stderr -c /etc/nginx.conf 2>/tmp/nginx.err &
mkdir -p /tmp/www/smoke
for i in 1 2 3 4 5 6 7 8 9 10; do
    echo "a file served by busybox" >"/tmp/www/smoke/file-$i"
done
httpd -p 127.0.0.1:8081 -h /tmp/www
until curl -s -o /dev/null --max-time 5 http://127.0.0.1:8080/up; do
    tries=$((tries + 1))
    [ "$tries" -gt 50 ] && break
    sleep 0.1
done

if [ -x /bin/remora ]; then
    echo "@@ doctor"
    remora doctor -o json
    echo "@@ doctor-exit $?"
    echo "@@ verifier"
    remora debug verifier
    echo "@@ verifier-exit $?"

    # A shell starts background jobs with SIGINT ignored: SIGTERM ends the trace.
    remora trace -o json >/tmp/trace.json 2>/tmp/trace.err &
    agent=$!
    seconds() { cut -d. -f1 /proc/uptime; }
    give_up=$(($(seconds) + 900))
    until grep -q /warm /tmp/trace.json; do
        if [ "$(seconds)" -gt "$give_up" ] || ! kill -0 "$agent"; then
            echo "@@ problem no line for a request before the agent ended, or for fifteen minutes"
            break
        fi
        curl -s -o /dev/null --max-time 5 http://127.0.0.1:8080/warm
        sleep 0.1
    done
fi

echo "@@ requests"
get() { curl -s -S --max-time 20 -o /dev/null -w '%{http_code} %{size_download} %{url_effective}\n' "$@"; }
get "http://127.0.0.1:8080/smoke/tcp4/[1-20]"
get "http://[::1]:8080/smoke/tcp6/[1-20]"
get --unix-socket /run/nginx.sock "http://localhost/smoke/unix/[1-20]"
get -H "Connection: close" "http://127.0.0.1:8080/smoke/close/[1-5]"
get -d "12345" "http://127.0.0.1:8080/smoke/post/[1-5]"
for i in 1 2 3 4 5 6 7 8 9 10; do
    wget -q -O - "http://127.0.0.1:8081/smoke/file-$i" >/tmp/body
    echo "200 $(wc -c </tmp/body) http://127.0.0.1:8081/smoke/file-$i"
done

if [ -x /bin/remora ]; then
    # Longer than the flush interval of an idle trace.
    sleep 1
    kill -TERM "$agent"
    wait "$agent"
    code=$?
    echo "@@ trace"
    cat /tmp/trace.json
    echo "@@ trace-exit $code"
    echo "@@ trace-stderr"
    cat /tmp/trace.err
    # Busy in its own libraries, which have no frame pointers, and in the kernel.
    truncate -s 64G /tmp/zeros
    remora profile -F 99 --duration 12s -o json -w /tmp/profile.json -- \
        curl -s -o /dev/null --max-time 60 file:///tmp/zeros 2>/tmp/profile.err
    echo "@@ profile-exit $?"
    echo "@@ profile"
    cat /tmp/profile.json
    echo "@@ profile-stderr"
    cat /tmp/profile.err
fi
echo "@@ nginx-stderr"
cat /tmp/nginx.err
echo "@@ end"
sync
poweroff -f
