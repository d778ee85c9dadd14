#!/usr/bin/env bash
# Deploy to one host first; the rest follow only when it is healthy, else it goes back.
#   workflows/canary.sh VERSION CANARY TARGET…
. "$(dirname "$0")/lib.sh"
version=${1:?usage: $0 VERSION CANARY TARGET…} canary=${2:?usage: $0 VERSION CANARY TARGET…}
shift 2
before=$(version_of "$canary")
if ! deploy "$canary" "$version"; then
    [ -n "$before" ] && revert "$canary" "$before"
    echo "the canary is bad; the other $# hosts were not touched"
    exit 4
fi
for target; do deploy "$target" "$version" || exit 3; done
