# Messages, stages, free ports and waiting. Sourced by the scripts; runs nothing by itself.
# shellcheck shell=bash

# Messages go to standard error: the standard output of `scripts/services up` is evaluated by a shell.
say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# stage NAME COMMAND...   runs a command and says how long it took, also when it fails
stage() {
  local name=$1 started=$SECONDS status=0
  shift
  say "== $name"
  "$@" || status=$?
  if [ "$status" -eq 0 ]; then say "== $name: $((SECONDS - started)) s"; else say "== $name: FAILED after $((SECONDS - started)) s"; fi
  return "$status"
}

# Where downloaded packages are kept between runs.
cache_folder() { printf '%s\n' "${TIDEWRIGHT_CACHE:-$HOME/.cache/tidewright}"; }

# free_ports COUNT   prints ports that the operating system picked, all different (perl is part of every Debian)
free_ports() {
  perl -MIO::Socket::INET -e '
    my @sockets = map { IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die "no free port: $!" } 1 .. shift;
    print join(" ", map { $_->sockport } @sockets), "\n";' "$1"
}

# ask PORT REQUEST BYTES   sends a request (printf escapes) and prints up to that many bytes of the answer in hexadecimal
ask() {
  (
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    # shellcheck disable=SC2059 # the request is written in printf escapes
    printf "$2" >&3
    timeout 5 head -c "$3" <&3 | od -An -v -tx1 | tr -d ' \n'
  ) 2>/dev/null
}

# hexadecimal TEXT   the bytes of a text, as `ask` prints them
hexadecimal() { printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n'; }
