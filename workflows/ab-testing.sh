#!/usr/bin/env bash
# Put version A on some hosts and version B on others.
#   workflows/ab-testing.sh A=VERSION:TARGET,TARGET… B=VERSION:TARGET,TARGET…
. "$(dirname "$0")/lib.sh"
[ $# -ge 2 ] || { echo "usage: $0 A=VERSION:TARGET,… B=VERSION:TARGET,…" >&2; exit 2; }
bad=0
for side; do
    rest=${side#*=}
    IFS=, read -ra targets <<<"${rest#*:}"
    for target in "${targets[@]}"; do deploy "$target" "${rest%%:*}" || bad=$((bad + 1)); done
done
[ $bad = 0 ] || exit 3
