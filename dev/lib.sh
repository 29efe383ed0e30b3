# Shared by the scripts in dev/; sourced, not run. Leaves the caller in the repository root.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# The Docker engine, not just its client: `docker` is often installed where no engine runs.
docker_answers() {
  has docker && [[ -n $(timeout 3 docker info --format '{{.ServerVersion}}' 2>/dev/null) ]]
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# PROFILE=release (default) or dev: sets `target` (directory), `cargo_profile` (arguments), `build_targets` (what to build with them),
# `terrarium_bin` (the binary among it). The demo and the bench need none of the heavy backends, which make a release build several
# times longer; dev is built for the suites anyway, with all of them. A build with other features would compile half of the crates again,
# and so would one without a test: what tests need switches features of the same crates on.
# shellcheck disable=SC2034
use_profile() {
  target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
  case ${PROFILE:-release} in
    release)
      cargo_profile=(--release --no-default-features) build_targets=()
      terrarium_bin=$target/release/terrarium
      ;;
    dev)
      cargo_profile=(--features test-services,cluster) build_targets=(--bin terrarium --test services)
      terrarium_bin=$target/debug/terrarium
      ;;
    *) die "PROFILE is \`${PROFILE}\`, but only \`release\` and \`dev\` exist" ;;
  esac
}

# Loads what the demo has into the online store of feature_repo. Materializing records its range in the registry, which is
# part of the checkout: it is put back as it was, so that `git status` stays clean.
materialize_demo() {
  local kept code=0
  kept=$(mktemp feature_repo/registry.db.XXXXXX)
  cp -p feature_repo/registry.db "$kept"
  "$terrarium_bin" features materialize 2026-10-01T00:00:00Z 2026-12-01T00:00:00Z || code=$?
  mv "$kept" feature_repo/registry.db
  return "$code"
}
