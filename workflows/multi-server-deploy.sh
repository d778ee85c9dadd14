#!/usr/bin/env bash
# Deploy to hosts one after the other; one bad host does not keep the others from their turn.
#   workflows/multi-server-deploy.sh VERSION TARGET…
. "$(dirname "$0")/lib.sh"
version=${1:?usage: $0 VERSION TARGET…}
shift
bad=0
for target; do deploy "$target" "$version" || bad=$((bad + 1)); done
echo "$(($# - bad)) of $# hosts are healthy"
[ $bad = 0 ] && exit 0
[ $bad -lt $# ] && exit 3
exit 4
