#!/usr/bin/env bash
# Put the new version beside the old one on every host; switch only when all of them have it, and go back when one is bad.
#   workflows/blue-green.sh VERSION TARGET…
. "$(dirname "$0")/lib.sh"
version=${1:?usage: $0 VERSION TARGET…}
shift
declare -A before
for target; do
    before[$target]=$(version_of "$target")
    stage "$target" "$version" || { echo "✗ [$target] could not be staged; nothing was switched"; exit 4; }
done
for target; do
    switch "$target" "$version" && healthy "$target" "$version" && { echo "✓ [$target] healthy $version"; continue; }
    echo "✗ [$target] failed; all hosts go back"
    incomplete=0
    for host in "${!before[@]}"; do
        [ -n "${before[$host]}" ] && { revert "$host" "${before[$host]}" || incomplete=1; }
    done
    exit $((5 + incomplete))
done
