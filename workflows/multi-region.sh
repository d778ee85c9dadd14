#!/usr/bin/env bash
# Deploy region after region; a region in which a host is bad stops the rest.
#   workflows/multi-region.sh VERSION REGION=TARGET,TARGET… …
. "$(dirname "$0")/lib.sh"
version=${1:?usage: $0 VERSION REGION=TARGET,TARGET… …}
shift
for region; do
    echo "region ${region%%=*}"
    IFS=, read -ra targets <<<"${region#*=}"
    for target in "${targets[@]}"; do
        deploy "$target" "$version" || { echo "region ${region%%=*} is bad; later regions were not touched"; exit 3; }
    done
done
