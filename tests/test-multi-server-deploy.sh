#!/usr/bin/env bash
# A rollout to three simulated servers in a tmux server of this test's own: all healthy, one broken, reported, retried, cleaned up.
# Runs from a bare checkout: it sets up what is missing. Ends in "N passed, N failed".
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$root/bin:$PATH
bash "$root/.ci/setup" || exit 2

work=$(mktemp -d "${TMPDIR:-/tmp}/sane-multi.XXXXXX")
export TMUX_TMPDIR=$work SANE_STATE_DIR=$work/state HOME=$work/home XDG_RUNTIME_DIR=$work/run NO_COLOR=1
unset TMUX TMUX_PANE SANE_DATABASE_URL
mkdir -p "$HOME" "$XDG_RUNTIME_DIR"
cleanup() {
    tmux kill-server 2>/dev/null
    # The warm helper looks once more for the server that has just ended, and tmux makes a folder for that.
    rm -rf "$work" 2>/dev/null || { sleep 1; rm -rf "$work"; }
}
trap cleanup EXIT
trap 'exit 130' INT TERM

passed=0 failed=0
check() { # check DESCRIPTION COMMAND…
    local what=$1
    shift
    if "$@" >"$work/check.out" 2>&1; then
        passed=$((passed + 1))
        echo "ok   $what"
    else
        failed=$((failed + 1))
        echo "FAIL $what"
        sed 's/^/     /' "$work/check.out"
    fi
}
# json FILE EXPRESSION: evaluate EXPRESSION over the document d; exit 0 when it is true
json() { "$root/.venv/bin/python" -c 'import json,sys; d=json.load(open(sys.argv[1])); h={x["name"]:x for x in d.get("hosts",())}; r=eval(sys.argv[2]); print(r, json.dumps(d)[:2000]); sys.exit(not r)' "$@"; }
deploy() { sane deploy "$root/workflows/multi-server-deploy.yaml" --inventory "$work/inventory.yaml" --output json "$@" 2>"$work/err"; }

echo "# Step 1: three simulated servers, each a pane of the orchestrator's session"
tmux -f /dev/null new-session -d -s fleet -n server1 -x 100 -y 30 bash --norc
tmux new-window -d -t fleet: -n server2 bash --norc
tmux new-window -d -t fleet: -n server3 bash --norc
{
    echo 'health_path: "{{ root }}/health.json"'
    echo 'hosts:'
    for server in server1 server2 server3; do
        mkdir -p "$work/$server"
        echo "  $server: {target: 'fleet:$server', vars: {root: '$work/$server', host_dir: '$work/$server/.sane'}}"
    done
} >"$work/inventory.yaml"
sane-list-panes fleet >"$work/panes.json"
check "sane-list-panes sees three panes" json "$work/panes.json" 'len(d["panes"]) == 3'
sane-detect-platform fleet:server1 >"$work/platform.json"
check "sane-detect-platform names the system" json "$work/platform.json" 'd["os"].lower() in ("linux", "darwin")'

echo "# Step 2: the primitives, by hand, on each server"
for server in server1 server2 server3; do
    sane-create-file "fleet:$server" "$work/$server/deploy.sh" 'echo "deploying to $1"; exit "${2:-0}"' >"$work/create.json"
    check "$server: the script arrives" json "$work/create.json" 'd["status"] == "created"'
    sane-run-command "fleet:$server" "sh $work/$server/deploy.sh $server" >"$work/run.json"
    check "$server: it runs, output and exit code exact" json "$work/run.json" "d['exit_code'] == 0 and d['output'].strip() == 'deploying to $server'"
done
sane-run-command fleet:server2 "sh $work/server2/deploy.sh server2 7" >"$work/run.json"
check "a failing command answers its own exit code" json "$work/run.json" 'd["exit_code"] == 7'

echo "# Step 3: a rollout to all three"
deploy --version 1.0.0 >"$work/report.json"
code=$?
check "it ends with status 0" test "$code" = 0
check "all three are healthy" json "$work/report.json" 'all(x["status"] == "healthy" for x in d["hosts"]) and len(h) == 3'
for server in server1 server2 server3; do
    check "$server: health.json says the version" json "$work/$server/health.json" 'd["status"] == "healthy" and d["version"] == "1.0.0"'
done

echo "# Step 4: server2 breaks; the others go on"
mv "$work/server2/releases" "$work/server2/releases.away"
echo "not a directory" >"$work/server2/releases"
deploy --version 1.1.0 >"$work/report.json"
code=$?
check "it ends with status 3: partial" test "$code" = 3
check "server1 and server3 are healthy on 1.1.0" json "$work/report.json" 'h["server1"]["status"] == h["server3"]["status"] == "healthy" and h["server3"]["health"]["version"] == "1.1.0"'
check "server2 failed, with its step, exit code, output and a hint" json "$work/report.json" 'h["server2"]["status"] == "failed" and h["server2"]["step"] and h["server2"]["exit_code"] and h["server2"]["output_tail"] and h["server2"]["hint"]'
check "server2 still says 1.0.0" json "$work/server2/health.json" 'd["version"] == "1.0.0"'

echo "# Step 5: mended, and only server2 is deployed again"
rm "$work/server2/releases"
mv "$work/server2/releases.away" "$work/server2/releases"
before=$(stat -c %Y.%i "$work/server1/health.json" 2>/dev/null || stat -f %m.%i "$work/server1/health.json")
sane retry multi-server-deploy --output json >"$work/report.json" 2>"$work/err"
code=$?
check "the retry ends with status 0" test "$code" = 0
check "server2 is healthy on 1.1.0" json "$work/server2/health.json" 'd["version"] == "1.1.0"'
after=$(stat -c %Y.%i "$work/server1/health.json" 2>/dev/null || stat -f %m.%i "$work/server1/health.json")
check "server1 was not touched" test "$before" = "$after"
[ "$failed" = 0 ] || { echo "# last messages"; cat "$work/err"; }

echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
