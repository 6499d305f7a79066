#!/usr/bin/env bash
# engine.sh [start|stop|status]: a Docker engine, two registries and two base images for the tests, on this machine.
#
# What already answers is used as it is.  What is missing comes from Debian's packages, is started, and is what `stop`
# ends.  All state is in $VIDCTL_ENGINE_DIR; `start` leaves there a file `env` to source, which names what to use:
#   DOCKER_HOST  DOCKER_CONFIG (an empty folder)  TEST_REGISTRY (open)  TEST_REGISTRY_AUTH (asks for a password)
#   TEST_REGISTRY_USER  TEST_REGISTRY_PASS  TEST_BASE_PYTHON  TEST_BASE_BUSYBOX
# The same names in the environment are wishes for it.  A port that another program has is passed over.
set -euo pipefail

DIR=${VIDCTL_ENGINE_DIR:-/tmp/vidctl-engine}
SOCKET=${DOCKER_HOST:-unix:///var/run/docker.sock}
OPEN=${TEST_REGISTRY:-127.0.0.1:5000}
LOCKED=${TEST_REGISTRY_AUTH:-127.0.0.1:5001}
USER_NAME=${TEST_REGISTRY_USER:-tester}
PASSWORD=${TEST_REGISTRY_PASS:-for-tests-only}
PYTHON=${PYTHON:-python3}
BUNDLE=/etc/ssl/certs/ca-certificates.crt
PORTS_TRIED=20
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

fail() {
  echo "engine.sh: $*" >&2
  exit 1
}

say() { echo "engine.sh: $*"; }

# Without BuildKit, which an older engine has no frontend for, and without the user's own credentials.
docker() { DOCKER_CONFIG=$DIR/docker-config DOCKER_HOST=unix://$SOCKET DOCKER_BUILDKIT=0 command docker "$@"; }

start() {
  [ "$(id -u)" = 0 ] || fail "needs root: it starts a Docker engine"
  umask 022
  mkdir -p "$DIR/docker-config" "$DIR/logs"
  exec 9>"$DIR/lock"
  flock --wait 600 9 || fail "another one has been at work in $DIR for ten minutes"
  install_packages
  start_engine
  start_registry open "${OPEN##*:}"
  OPEN=127.0.0.1:$PORT
  start_registry locked "${LOCKED##*:}"
  LOCKED=127.0.0.1:$PORT
  have_image local/busybox:1 || make_busybox
  have_python || make_python
  publish busybox:1
  publish python:3
  write_env
  say "ready: . $DIR/env"
}

install_packages() {
  local missing=() log=$DIR/logs/apt
  { has docker && has dockerd; } || missing+=(docker.io)
  has docker-registry || missing+=(docker-registry)
  [ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1 || missing+=(busybox-static)
  has curl || missing+=(curl)
  [ -f "$BUNDLE" ] || missing+=(ca-certificates)
  [ ${#missing[@]} -gt 0 ] || return 0
  has apt-get || fail "install these first, there is no apt-get here: ${missing[*]}"
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}"; } \
    >"$log" 2>&1 </dev/null || fail "apt-get cannot install ${missing[*]}: $(tail -n 1 "$log") (all of it: $log)"
}

has() { type -P "$1" >/dev/null; }

# --- The engine

engine_answers() { curl --fail --silent --max-time 5 --unix-socket "$SOCKET" http://engine/_ping >/dev/null; }

start_engine() {
  engine_answers && { say "a Docker engine answers at $SOCKET"; return; }
  # A killed engine leaves its containerd's files, and mounts; the next one would wait for a containerd that is gone.
  awk -v under="$DIR/run/" 'index($2, under) == 1 {print $2}' /proc/self/mounts | sort -r |
    xargs --no-run-if-empty umount --lazy
  rm -rf "$DIR/run" "$DIR/dockerd.pid"
  daemon engine dockerd --data-root "$DIR/images" --exec-root "$DIR/run" --pidfile "$DIR/dockerd.pid" \
    --host "unix://$SOCKET"
  await engine engine_answers
  say "started a Docker engine at $SOCKET"
}

# --- The registries

# start_registry open|locked PORT: set PORT to that of a registry of this kind, found there or after it, or started.
start_registry() {
  local kind=$1 first=$2
  for ((PORT = first; PORT < first + PORTS_TRIED; PORT++)); do
    "is_$kind" && { say "the $kind registry answers at 127.0.0.1:$PORT"; return; }
    is_free || continue
    write_registry_config "$kind" >"$DIR/$kind.yml"
    daemon "$kind" docker-registry serve "$DIR/$kind.yml"
    await "$kind" "is_$kind"
    say "started the $kind registry at 127.0.0.1:$PORT"
    return
  done
  fail "no port from $first on is free for the $kind registry: choose with TEST_REGISTRY and TEST_REGISTRY_AUTH"
}

is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }

is_open() { [ "$(answer)" = 200/registry ]; }

is_locked() { [ "$(answer)" = 401/registry ] && [ "$(answer "user = \"$USER_NAME:$PASSWORD\"")" = 200/registry ]; }

# The status with which a registry at PORT answers.  The login goes through a pipe: a command line can be read by all.
answer() {
  curl --silent --max-time 5 --noproxy '*' --include --config - "http://127.0.0.1:$PORT/v2/" <<<"${1:-}" |
    tr -d '\r' | awk 'NR == 1 {status = $2} tolower($1) ~ /^docker-distribution-api-version:/ {kind = "/registry"}
                      END {print status kind}' || true
}

write_registry_config() {
  cat <<YAML
version: 0.1
log: {level: info}
storage: {filesystem: {rootdirectory: $DIR/registry-$1}, delete: {enabled: true}}
http: {addr: 127.0.0.1:$PORT, secret: none-for-tests}
YAML
  [ "$1" = locked ] || return 0
  (umask 077 && crypted_login >"$DIR/htpasswd")
  echo "auth: {htpasswd: {realm: tests, path: $DIR/htpasswd}}"
}

# The registry takes bcrypt and nothing else; Debian's perl, which is always there, can make it.
crypted_login() {
  local salt
  salt=$(head -c 16 /dev/urandom | base64 | tr '+=' './' | head -c 21)
  PASSWORD=$PASSWORD perl -e 'print "$ARGV[0]:", crypt($ENV{PASSWORD}, $ARGV[1]), "\n"' "$USER_NAME" "\$2b\$05\$$salt."
}

# --- The base images: stand-ins for those of Docker Hub, which a test machine may not reach

have_image() { docker image inspect "$1" >/dev/null 2>&1; }

# One that something else made may lack a library that wheels take for granted.
have_python() {
  have_image local/python:3 &&
    docker run --rm local/python:3 python3 -c 'import ctypes; ctypes.CDLL("libmvec.so.1")' >/dev/null 2>&1
}

make_busybox() {
  local root=$DIR/busybox
  new_root "$root"
  printf 'FROM scratch\nCOPY . /\nENV PATH=/bin\nCMD ["sh"]\n' | build local/busybox:1 "$root"
}

# This machine's Python with the libraries that it and usual wheels load, a shell, and the certificates that pip needs.
make_python() {
  local root=$DIR/python prefix version
  prefix=$("$PYTHON" -c 'import ensurepip, sys; print(sys.base_prefix)') || fail "$PYTHON has no ensurepip"
  version=$("$PYTHON" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
  new_root "$root"
  mkdir -p "$root/usr/local/bin" "$root/usr/local/lib/$version/site-packages" "$root$(dirname "$BUNDLE")"
  cp "$prefix/bin/$version" "$root/usr/local/bin/python3"
  ln -s python3 "$root/usr/local/bin/python"
  tar -C "$prefix/lib" --exclude=site-packages --exclude=dist-packages --exclude=__pycache__ --exclude=test \
    --exclude=tests --exclude=idlelib --exclude='*tkinter*' --exclude='config-*' -c "$version" | tar -C "$root/usr/local/lib" -x
  cp -L "$BUNDLE" "$root$BUNDLE"
  copy_libraries "$root" "$prefix" "$prefix/bin/$version" "$root/usr/local/lib/$version"/lib-dynload/*.so
  build local/python:3 "$root" <<DOCKERFILE
FROM scratch
COPY . /
ENV PATH=/usr/local/bin:/bin LD_LIBRARY_PATH=/usr/local/lib LANG=C.UTF-8
ENV SSL_CERT_FILE=$BUNDLE REQUESTS_CA_BUNDLE=$BUNDLE PIP_CERT=$BUNDLE PIP_ROOT_USER_ACTION=ignore
RUN python3 -m ensurepip --default-pip
CMD ["python3"]
DOCKERFILE
}

# What programs and extension modules are linked to, what glibc loads by name, and what wheels take for granted.
copy_libraries() {
  local root=$1 prefix=$2 path
  shift 2
  {
    ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// {print $3} $1 ~ /^\// && $2 ~ /^\(/ {print $1}'
    find /lib/*-linux-gnu -maxdepth 1 -name 'lib*.so.*' |
      grep -E '/lib(nss_dns|nss_files|resolv|pthread|dl|rt|util|m|mvec|stdc\+\+|gcc_s)\.so\.[0-9]$'
  } | sort --unique | while read -r path; do
    case $path in
      "$prefix"/*) cp -L "$path" "$root/usr/local/lib/" ;;
      *) mkdir -p "$root$(dirname "$path")" && cp -L "$path" "$root$path" ;;
    esac
  done
}

new_root() {
  rm -rf "$1"
  mkdir -p "$1"/{bin,dev,etc,proc,root,sys,usr/bin,var}
  mkdir -m 1777 "$1/tmp" "$1/var/tmp"
  cp /bin/busybox "$1/bin/busybox"
  chroot "$1" /bin/busybox --install -s /bin
  ln -s ../../bin/env "$1/usr/bin/env"
  echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
  echo 'root:x:0:' >"$1/etc/group"
}

# build NAME ROOT <DOCKERFILE
build() {
  local log="$DIR/logs/image"
  docker build --quiet --tag "$1" --file - "$2" >"$log" 2>&1 || fail "cannot build $1: $(tail -n 1 "$log")"
  rm -rf "$2"
  say "made the image $1"
}

publish() {
  docker tag "local/$1" "$OPEN/base/$1"
  docker push --quiet "$OPEN/base/$1" >/dev/null || fail "cannot push local/$1 to $OPEN"
}

write_env() {
  (umask 077 && cat >"$DIR/env.new") <<ENV
export DOCKER_HOST=unix://$SOCKET
export DOCKER_CONFIG=$DIR/docker-config
export TEST_REGISTRY=$OPEN
export TEST_REGISTRY_AUTH=$LOCKED
export TEST_REGISTRY_USER=$USER_NAME
export TEST_REGISTRY_PASS=$PASSWORD
export TEST_BASE_PYTHON=local/python:3
export TEST_BASE_BUSYBOX=local/busybox:1
ENV
  mv "$DIR/env.new" "$DIR/env"
}

# --- Programs that run on behind us, each known by its process id and the time at which it started

# daemon NAME COMMAND...: its output is in a file, so that nobody who reads ours waits for it.
daemon() {
  local name=$1
  shift
  setsid "$@" >"$DIR/logs/$name" 2>&1 </dev/null 9>&- &
  echo "$! $(started "$!")" >"$DIR/$name.process"
}

# Nothing for a process that is gone, or ended and waits for its parent to notice.
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" {print $20}'; }

is_running() {
  local process time
  read -r process time 2>/dev/null <"$DIR/$1.process" && [ -n "$time" ] && [ "$(started "$process")" = "$time" ]
}

# await NAME COMMAND...: until the command says that it is there.
await() {
  local name=$1 left=300
  shift
  until "$@"; do
    is_running "$name" && [ $((left -= 1)) -gt 0 ] || fail "$name did not start: $(tail -n 1 "$DIR/logs/$name")"
    sleep 0.1
  done
}

stop() {
  local name process left
  for name in open locked engine; do
    is_running "$name" || continue
    read -r process _ <"$DIR/$name.process"
    kill "$process"
    left=300
    while is_running "$name" && [ $((left -= 1)) -gt 0 ]; do sleep 0.1; done
    is_running "$name" && fail "$name (process $process) does not end"
    rm "$DIR/$name.process"
    say "stopped $name"
  done
}

status() {
  local name
  if engine_answers; then say "a Docker engine answers at $SOCKET"; else say "no Docker engine answers at $SOCKET"; fi
  for name in open locked engine; do is_running "$name" && say "$name was started from $DIR and runs" || true; done
  engine_answers
}

case $SOCKET in
  unix://*) SOCKET=${SOCKET#unix://} ;;
  *) fail "DOCKER_HOST is $SOCKET: an engine can be started at a unix:// socket only" ;;
esac
case ${1:-start} in
  start | stop | status) "${1:-start}" ;;
  *) fail "usage: engine.sh [start|stop|status]" ;;
esac
