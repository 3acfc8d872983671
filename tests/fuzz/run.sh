#!/bin/bash
# Fuzzes every target in a folder of binaries built with the preset "fuzz", each for some seconds, starting from its
# committed corpus. A finding ends it with the input's path. tests/fuzz/run.sh BIN_DIR SECONDS
set -euo pipefail
bin=${1:?folder of binaries} seconds=${2:?seconds each}
here=$(cd "$(dirname "$0")" && pwd)
found=0
for target in "$bin"/*_fuzz; do
  [[ -x $target ]] || continue
  name=$(basename "$target")
  work=$(mktemp -d)
  echo "fuzz: $name for $seconds s"
  ASAN_OPTIONS=allow_user_poisoning=0 "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="/tmp/$name-" "$work" "$here/corpus/$name" >"$work.log" 2>&1 || { tail -n 40 "$work.log"; exit 1; }
  grep -E 'stat::number_of_executed_units|cov:' "$work.log" | tail -n 2
  rm -rf "$work" "$work.log"
  found=$((found + 1))
done
[[ $found -gt 0 ]] || { echo "fuzz: no targets in $bin" >&2; exit 1; }
echo "fuzz: $found targets, nothing found"
