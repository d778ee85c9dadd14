# What the workflows in bash share. Source it: . "$(dirname "$0")/lib.sh"
#
# A host is a target as every primitive takes it: ssh:web1, a pane (work:1.0), local:. ROOT is where the application lives
# there. Each function returns 0, or says on stderr what failed on which host.

set -uo pipefail
export PATH="$(cd "$(dirname "${BASH_SOURCE[0]}")/../bin" && pwd):$PATH"
ROOT=${ROOT:-'~/sane-demo'}

word() { # word TEXT: refuse a version that would be more than one word in a command
    case $1 in '' | *[!A-Za-z0-9._+~-]*) echo "version '$1' can't be used: letters, digits and . _ + ~ - only" >&2; return 2 ;; esac
}

run() { # run TARGET COMMAND: the command's own exit status
    local answer status
    answer=$(sane-run-command "$1" "$2" 60 --exit-status)
    status=$?
    [ $status = 0 ] || echo "[$1] exit status $status: $answer" >&2
    return $status
}

stage() { # stage TARGET VERSION: put a release beside the one in use
    word "$2" && run "$1" "mkdir -p $ROOT/releases/$2" &&
        sane-create-file "$1" "$ROOT/releases/$2/VERSION" "$2" false >/dev/null
}

switch() { # switch TARGET VERSION: turn to a release that was staged
    word "$2" && run "$1" "cd $ROOT && ln -sfn releases/$2 .current.new && mv -T .current.new current &&
        printf '{\"status\":\"healthy\",\"version\":\"%s\"}\n' \"\$(cat current/VERSION)\" >.health.new && mv .health.new health.json"
}

version_of() { # version_of TARGET: the version in use, "" for none
    sane-run-command "$1" "cat $ROOT/current/VERSION 2>/dev/null" --query output | tr -d '"\n' | sed 's/\\n$//'
}

healthy() { # healthy TARGET VERSION: the host says that it is healthy, and on this version
    word "$2" && run "$1" "grep -q '\"status\":\"healthy\"' $ROOT/health.json && grep -q '\"version\":\"$2\"' $ROOT/health.json"
}

deploy() { # deploy TARGET VERSION: stage, switch and prove
    if stage "$1" "$2" && switch "$1" "$2" && healthy "$1" "$2"; then
        echo "✓ [$1] healthy $2"
    else
        echo "✗ [$1] failed"
        return 1
    fi
}

revert() { # revert TARGET VERSION: back to a version that is still there
    if switch "$1" "$2" && healthy "$1" "$2"; then echo "↩ [$1] back on $2"; else echo "✗ [$1] not reverted"; return 1; fi
}
