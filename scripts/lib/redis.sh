# Redis, in memory only. Sourced.
# shellcheck shell=bash disable=SC2034 # scripts/services reads the variables

REDIS_IMAGE=redis:7.0.15
REDIS_PORTS=1
REDIS_READY_SECONDS=20

redis_address() { printf 'redis://127.0.0.1:%s\n' "$1"; }

redis_launch() { # FOLDER PORT
  start_process "$1" redis-server --port "$2" --bind 127.0.0.1 --dir "$1" --save '' --appendonly no
}

redis_container() { # FOLDER PORT
  start_container "$1" --publish "127.0.0.1:$2:6379" "$REDIS_IMAGE" redis-server --save '' --appendonly no
}

redis_ready() { # PORT
  [ "$(ask "$1" 'PING\r\n' 5)" = "$(hexadecimal +PONG)" ]
}
