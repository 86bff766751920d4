# Debian packages: installed when we may, named when we may not. Sourced.
# shellcheck shell=bash

# debian_packages PACKAGE...   installs them as root; otherwise ends with the command to run
debian_packages() {
  [ $# -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    die "missing on this machine; install with: sudo apt-get update && sudo apt-get install -y $*"
  fi
  say "installing by apt-get: $*"
  # RUNLEVEL=1 keeps packages such as redis-server from starting a service of their own.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# missing_build_packages   prints what compiling Tidewright needs beyond Rust (librdkafka with TLS, mimalloc)
missing_build_packages() {
  command -v cc >/dev/null || echo gcc
  command -v c++ >/dev/null || echo g++
  command -v make >/dev/null || echo make
  command -v pkg-config >/dev/null || echo pkg-config
  echo '#include <openssl/ssl.h>' | cc -E - >/dev/null 2>&1 || echo libssl-dev
  echo '#include <zlib.h>' | cc -E - >/dev/null 2>&1 || echo zlib1g-dev
}

# missing_service_packages SERVICE...   prints what running these test services without Docker needs; tests start Prometheus themselves
missing_service_packages() {
  local service
  for service in "$@"; do
    case $service in
      kafka | dynamodb)
        command -v java >/dev/null || echo default-jre-headless
        command -v mvn >/dev/null || echo maven
        ;;
      redis) command -v redis-server >/dev/null || echo redis-server ;;
      prometheus) command -v promtool >/dev/null || echo prometheus ;;
      s3) python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv ;;
    esac
  done | sort -u
}
