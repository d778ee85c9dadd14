#!/usr/bin/env bash
# Deploy to the primary site and then to the backup; the backup gets the version even where the primary is lost.
#   workflows/disaster-recovery.sh VERSION PRIMARY BACKUP
. "$(dirname "$0")/lib.sh"
version=${1:?usage: $0 VERSION PRIMARY BACKUP} primary=${2:?} backup=${3:?}
deploy "$primary" "$version"
primary_ok=$?
deploy "$backup" "$version"
backup_ok=$?
[ $primary_ok = 0 ] && [ $backup_ok = 0 ] && exit 0
[ $backup_ok = 0 ] && { echo "the backup $backup can take over from $primary"; exit 3; }
[ $primary_ok = 0 ] && { echo "$primary has no backup on $version"; exit 3; }
exit 4
