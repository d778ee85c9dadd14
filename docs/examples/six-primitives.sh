#!/usr/bin/env bash
# Six primitives on a pane that is ssh'd into another host; the host is a throwaway one of `sane lab`.
set -euo pipefail
lab=$(mktemp -d) && export TMUX_TMPDIR=$lab SANE_STATE_DIR=$lab/state
unset TMUX TMUX_PANE
trap 'tmux kill-server 2>/dev/null || true; sane lab down --dir "$lab/hosts" 2>/dev/null; rm -rf "$lab"' EXIT

sane lab up 1 --dir "$lab/hosts" >/dev/null 2>&1
port=$(sane lab list --dir "$lab/hosts" --output json --query '[0].port')
root=$lab/hosts/server1
tmux -f /dev/null new-session -d -s work -x 120 -y 30 "ssh -F none -i $lab/hosts/id_ed25519 \
    -o UserKnownHostsFile=$lab/hosts/known_hosts -p $port $(id -un)@127.0.0.1"
sane-wait-ready work:0.0 20 >/dev/null                          # logged in, and a prompt waits

sane-detect-ssh work:0.0 --update-context                       # 1. which host is it
sane-detect-platform work:0.0                                   # 2. what runs there
sane-label-pane work:0.0 'the lab host'                         # 3. a name people see
sane-create-file work:0.0 "$root/app.conf" 'port = 8080'        # 4. a file, replaced whole or not at all
sane-run-command work:0.0 "grep -c 8080 $root/app.conf"         # 5. a command: its output and exit code
sane-checksum-file work:0.0 "$root/app.conf"                    # 6. what the file holds now
