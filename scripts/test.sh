#!/usr/bin/env bash
# Runs every check and test of Tidewright against real servers, and stops what it started.
#
#   scripts/test.sh                    formatting, clippy, then all tests: unit, property, documentation, whole system
#   scripts/test.sh ARGUMENTS...       only `cargo test ARGUMENTS...`, with the servers running
#
# Servers: see scripts/services; Prometheus, which tests start themselves, is Debian's; so is Java for a Kafka of a test's own, from
# Maven packages (TIDEWRIGHT_TEST_KAFKA_JARS names a folder of them); schemathesis, which exercises the REST API,
# comes from PyPI unless TIDEWRIGHT_TEST_SCHEMATHESIS names one. A test whose server is absent fails here instead of being skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck disable=SC2034 # scripts/lib/packages.sh reads it
SCRIPTS=$PWD/scripts
for part in common debian packages; do
  # shellcheck source=/dev/null
  . "scripts/lib/$part.sh"
done

WORK=$(mktemp -d)
stop() { scripts/services down --dir "$WORK/services" || true; rm -rf "$WORK"; }
trap stop EXIT
trap 'exit 130' INT TERM HUP

start_services() {
  scripts/services up --dir "$WORK/services" >"$WORK/exports" || return 1
  # shellcheck source=/dev/null
  . "$WORK/exports"
  local missing
  mapfile -t missing < <(missing_service_packages prometheus)
  debian_packages "${missing[@]}"
  if [ -z "${TIDEWRIGHT_TEST_KAFKA_JARS:-}" ]; then
    install_packages kafka || return 1
    TIDEWRIGHT_TEST_KAFKA_JARS=$(jar_folder kafka)
    export TIDEWRIGHT_TEST_KAFKA_JARS
  fi
  if [ -z "${TIDEWRIGHT_TEST_SCHEMATHESIS:-}" ]; then
    install_schemathesis || return 1
    TIDEWRIGHT_TEST_SCHEMATHESIS=$(schemathesis_folder)/bin/schemathesis
    export TIDEWRIGHT_TEST_SCHEMATHESIS
  fi
  export TIDEWRIGHT_TEST_REQUIRE_SERVICES=1
}

# The whole-system tests wait more than they compute.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) + 1))}

command -v cargo >/dev/null || die "cargo is missing; see https://rustup.rs"
mapfile -t missing < <(missing_build_packages)
debian_packages "${missing[@]}"

if [ $# -gt 0 ]; then
  stage 'start services' start_services
  stage 'cargo test' cargo test "$@"
else
  stage 'formatting' cargo fmt --all --check
  stage 'clippy' cargo clippy --workspace --all-targets --locked -- -D warnings
  stage 'start services' start_services
  stage 'tests' cargo test --workspace --locked
fi
