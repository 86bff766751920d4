# An S3 server, in memory: moto, which knows conditional writes. Sourced.
# shellcheck shell=bash disable=SC2034 # scripts/services reads the variables

S3_IMAGE=motoserver/moto:5.2.5
S3_PORTS=1
S3_READY_SECONDS=60

s3_address() { printf 'http://127.0.0.1:%s\n' "$1"; }

s3_launch() { # FOLDER PORT
  start_process "$1" "$(moto_folder)/bin/moto_server" -H 127.0.0.1 -p "$2"
}

s3_container() { # FOLDER PORT
  start_container "$1" --publish "127.0.0.1:$2:5000" "$S3_IMAGE"
}

s3_ready() { # PORT
  [ "$(ask "$1" 'GET / HTTP/1.0\r\nHost: localhost\r\n\r\n' 5)" = "$(hexadecimal HTTP/)" ]
}
