# Test services from Maven and PyPI, at pinned versions, kept in the cache. Sourced after common.sh.
# shellcheck shell=bash

# once FOLDER COMMAND...   lets a command fill a new folder; shared by runs at the same time, never seen half-filled
once() {
  local folder=$1
  shift
  [ ! -e "$folder/complete" ] || return 0
  mkdir -p "$(dirname "$folder")"
  (
    flock 9
    [ ! -e "$folder/complete" ] || exit 0
    say "installing $(basename "$folder")"
    rm -rf "$folder"
    mkdir "$folder"
    "$@" "$folder" 9>&- >&2 || { rm -rf "$folder"; exit 1; }
    touch "$folder/complete"
  ) 9>"$folder.lock"
}

# A changed pom means another folder, so that a new version never mixes with an old one.
jar_folder() { printf '%s/%s-%s\n' "$(cache_folder)" "$1" "$(cksum <"$SCRIPTS/packages/$1.xml" | cut -d' ' -f1)"; }

copy_jars() { # SERVICE FOLDER
  mvn -q -B -f "$SCRIPTS/packages/$1.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$2" </dev/null
}

create_venv() { # PACKAGE FOLDER
  python3 -m venv "$2" && "$2/bin/pip" -q --disable-pip-version-check install "$1" </dev/null
}

MOTO_VERSION=5.2.5
moto_folder() { printf '%s/moto-%s\n' "$(cache_folder)" "$MOTO_VERSION"; }

# Exercises the REST API by its OpenAPI document.
SCHEMATHESIS_VERSION=4.32.5
schemathesis_folder() { printf '%s/schemathesis-%s\n' "$(cache_folder)" "$SCHEMATHESIS_VERSION"; }
install_schemathesis() {
  local missing
  # A virtual environment is all that the S3 server needs too.
  mapfile -t missing < <(missing_service_packages s3)
  debian_packages "${missing[@]}"
  once "$(schemathesis_folder)" create_venv "schemathesis==$SCHEMATHESIS_VERSION"
}

# install_packages SERVICE...   everything that these services need, if it isn't there
install_packages() {
  local service missing
  mapfile -t missing < <(missing_service_packages "$@")
  debian_packages "${missing[@]}"
  for service in "$@"; do
    case $service in
      # One after the other: Maven's local repository is not made for two at the same time.
      kafka | dynamodb) once "$(jar_folder "$service")" copy_jars "$service" ;;
      s3) once "$(moto_folder)" create_venv "moto[server]==$MOTO_VERSION" ;;
    esac
  done
}
