#!/bin/bash
# Fuzzes every target in a folder of binaries built with the preset "fuzz", each for some seconds, as many at a time as
# there are processors, starting from its committed corpus. A finding ends it with the input's path.
# tests/fuzz/run.sh BIN_DIR SECONDS
set -euo pipefail
bin=${1:?folder of binaries} seconds=${2:?seconds each}
corpus=$(cd "$(dirname "$0")" && pwd)/corpus
export seconds corpus

fuzz() {  # TARGET
  local target=$1 name work
  name=$(basename "$target")
  work=$(mktemp -d)
  ASAN_OPTIONS=allow_user_poisoning=0 "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="/tmp/$name-" "$work" "$corpus/$name" >"$work.log" 2>&1 || { tail -n 40 "$work.log"; return 255; }
  echo "fuzz: $name for $seconds s, $(sed -n 's/stat::number_of_executed_units: *//p' "$work.log") inputs," \
    "$(grep -o 'cov: [0-9]*' "$work.log" | tail -n 1)"
  rm -rf "$work" "$work.log"
}
export -f fuzz

shopt -s nullglob
targets=("$bin"/*_fuzz)
[[ ${#targets[@]} -gt 0 ]] || { echo "fuzz: no targets in $bin" >&2; exit 1; }
printf '%s\0' "${targets[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'fuzz "$1"' fuzz
echo "fuzz: ${#targets[@]} targets, nothing found"
