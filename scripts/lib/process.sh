# A test service as a process or container, with everything about it in one folder. Sourced after common.sh.
#
#   FOLDER/pid        process id and start time, or
#   FOLDER/container  id of the Docker container
#   FOLDER/log        what the process printed
#   FOLDER/address    written when the service is ready
# shellcheck shell=bash

# Together with the id this tells the process from a later one that got the same id.
process_started() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }

# start_process FOLDER COMMAND...   in a session of its own: Ctrl-C reaches the script, which stops it in order
start_process() {
  local folder=$1 pid
  shift
  setsid "$@" >"$folder/log" 2>&1 </dev/null &
  pid=$!
  printf '%s %s\n' "$pid" "$(process_started "$pid")" >"$folder/pid"
}

# start_container FOLDER DOCKER_RUN_ARGUMENTS...
start_container() {
  local folder=$1
  shift
  docker run --detach "$@" >"$folder/container" 2>"$folder/log"
}

is_running() { # FOLDER
  local pid started
  if [ -s "$1/container" ]; then
    [ "$(docker inspect --format '{{.State.Running}}' "$(cat "$1/container")" 2>/dev/null)" = true ]
  elif [ -s "$1/pid" ]; then
    read -r pid started <"$1/pid"
    [ "$(process_started "$pid")" = "$started" ] && kill -0 "$pid" 2>/dev/null
  else
    return 1
  fi
}

# Test data is thrown away, so whoever does not end within five seconds is killed.
stop_running() { # FOLDER
  local pid _
  if [ -s "$1/container" ]; then
    docker rm --force --volumes "$(cat "$1/container")" >/dev/null
    return 0
  fi
  if ! is_running "$1"; then return 0; fi
  read -r pid _ <"$1/pid"
  kill "$pid" 2>/dev/null || true
  for _ in {1..50}; do
    is_running "$1" || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
}

show_log() { # FOLDER
  [ ! -s "$1/container" ] || docker logs "$(cat "$1/container")" >>"$1/log" 2>&1 || true
  say "--- the end of its log:"
  tail -n 40 "$1/log" >&2 || true
  say "---"
}
