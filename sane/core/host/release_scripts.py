"""Scripts that keep releases on a host, as data: POSIX sh, values in SANE_… variables, answers as `name=value` lines.

    ROOT/releases/DIGEST          the files of one bundle, whole or not there
    ROOT/releases/NAME            a link to one of them
    ROOT/releases/.sane/DIGEST    its manifest; its time is that of the last activation
    ROOT/current                  a link to the release in use, changed by one rename

What a host has is hashed before it counts: a file that was changed or cut since is sent again.
"""

from __future__ import annotations

_COMMON = r"""
LC_ALL=C; export LC_ALL
umask 022
tab=$(printf '\t')
fail() { printf 'error=%s\n' "$1"; exit 0; }
# The reason in what a tool said: a full disk, wherever it stands, else the end of the first line.
why() {
    case $1 in
    *'No space left'* | *'Wrote only'*) echo 'No space left on device' ;;
    *'uota exceeded'*) echo 'Disk quota exceeded' ;;
    *) printf '%s\n' "$1" | sed -n '1s/.*: //p;1q' | grep . || printf '%s\n' "${1:-no reason given}" ;; esac
}
find_root() {
    root=$SANE_ROOT
    case $root in '~') root=$HOME ;; '~/'*) root=$HOME/${root#'~/'} ;; esac
    case $root in /*) ;; *) root=$PWD/$root ;; esac
    while [ "$root" != / ] && [ "${root%/}" != "$root" ]; do root=${root%/}; done
    releases=$root/releases
    printf 'root=%s\n' "$root"
}
work=
clean_up() { [ -z "$work" ] || { chmod -R u+w "$work"; rm -rf "$work"; } 2>/dev/null; }
trap clean_up EXIT
trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
turn_link() { # $1 what it says, $2 the link: one rename; -T is GNU's and busybox's word, -h BSD's
    reason=$(ln -s "$1" "$2.sane-$$" 2>&1) || fail "$2: $(why "$reason")"
    mv -fT "$2.sane-$$" "$2" 2>/dev/null || mv -fh "$2.sane-$$" "$2" 2>/dev/null || {
        rm -f "$2.sane-$$"; fail "$2 can't be replaced"; }
}
name_release() {
    [ -n "$SANE_RELEASE" ] || return 0
    named=$releases/$SANE_RELEASE
    [ -L "$named" ] || [ ! -e "$named" ] || fail "$named is a directory that sane did not make"
    [ "$(readlink "$named" 2>/dev/null)" = "$SANE_DIGEST" ] || turn_link "$SANE_DIGEST" "$named"
}
"""

_HASHES = r"""
if command -v sha256sum >/dev/null; then hash=sha256sum
elif command -v shasum >/dev/null; then hash='shasum -a 256'
else fail 'sha256sum is missing on the host'; fi
for tool in tar gzip awk xargs; do command -v $tool >/dev/null || fail "$tool is missing on the host"; done
hash_listed() { # $1 a directory, $2 a file of paths in it; what can't be read has no line
    (cd "$1" && tr '\n' '\0' <"$2" | xargs -0 $hash 2>/dev/null)
}
damaged_in() { # $1 a release, $2 its manifest: the paths that are not as it says
    awk -F"$tab" '$1 == "f" { print "./" $5 }' "$2" >"$work/list"
    hash_listed "$1" "$work/list" >"$work/hashed"
    awk -F"$tab" -v hashed="$work/hashed" '
        BEGIN { while ((getline line < hashed) > 0) sum[substr(line, 67)] = substr(line, 1, 64) }
        $1 == "f" && sum["./" $5] != $3 { print $5 }' "$2"
    while IFS=$tab read -r kind mode sum size path target; do
        case $kind in
        l) [ "$(readlink "$1/$path" 2>/dev/null)" = "$target" ] || printf '%s\n' "$path" ;;
        d) [ -d "$1/$path" ] || printf '%s\n' "$path" ;;
        esac
    done <"$2"
}
candidates() { # the first place of each content that $1 wants: hash, mode, path below releases
    for kept in "$releases/.sane/$SANE_DIGEST" "$releases"/.sane/*; do
        digest=${kept##*/}
        [ -f "$kept" ] && [ -d "$releases/$digest" ] && [ ! -L "$releases/$digest" ] || continue
        awk -F"$tab" -v digest="$digest" '$1 == "f" { print $3 "\t" $2 "\t./" digest "/" $5 }' "$kept"
    done | awk -F"$tab" -v wanted="$1" '
        BEGIN { while ((getline line < wanted) > 0) { split(line, f, "\t"); if (f[1] == "f") want[f[3]] = 1 } }
        want[$1] && !seen[$1]++' >"$work/candidates"
}
whole_candidates() { # only those whose content is still what their manifest says
    cut -f3 "$work/candidates" >"$work/list"
    : >"$work/hashed"
    [ ! -d "$releases" ] || hash_listed "$releases" "$work/list" >"$work/hashed"
    awk -F"$tab" -v hashed="$work/hashed" '
        BEGIN { while ((getline line < hashed) > 0) sum[substr(line, 67)] = substr(line, 1, 64) }
        sum[$3] == $1' "$work/candidates" >"$work/whole"
}
"""

# The manifest on stdin (nothing: only whether SANE_DIGEST is there). Writes nothing but a name for a release that is
# there whole.
ASK = (
    _COMMON
    + _HASHES
    + r"""
find_root
work=$(mktemp -d "${TMPDIR:-/tmp}/sane-XXXXXXXX" 2>&1) || { reason=$work; work=; fail "$(why "$reason")"; }
reason=$({ cat >"$work/manifest"; } 2>&1) || fail "$(why "$reason")"
[ -s "$work/manifest" ] || cp "$releases/.sane/$SANE_DIGEST" "$work/manifest" 2>/dev/null || {
    printf 'absent_release=1\nbody=\n'; exit 0; }
if [ -d "$releases/$SANE_DIGEST" ] && cmp -s "$work/manifest" "$releases/.sane/$SANE_DIGEST" &&
    [ -z "$(damaged_in "$releases/$SANE_DIGEST" "$work/manifest")" ]; then
    name_release
    printf 'complete=1\nfiles=%s\nbody=\n' "$(grep -c '^f' "$work/manifest")"
    exit 0
fi
candidates "$work/manifest"
whole_candidates
printf 'body=\n'
awk -F"$tab" -v whole="$work/whole" '
    BEGIN { while ((getline line < whole) > 0) { split(line, f, "\t"); have[f[1]] = 1 } }
    $1 == "f" && !have[$3] && !seen[$3]++ { print $3 }' "$work/manifest"
"""
)

# A gzipped tar on stdin: `manifest`, and the missing contents under the names of their hashes.
ASSEMBLE = (
    _COMMON
    + _HASHES
    + r"""
find_root
reason=$(mkdir -p "$releases/.sane" 2>&1) || fail "$(why "$reason")"
find "$releases" -maxdepth 1 -name '.sane-new-*' -mmin +1440 -exec rm -rf {} + 2>/dev/null
work=$(mktemp -d "$releases/.sane-new-XXXXXXXX" 2>&1) || { reason=$work; work=; fail "$(why "$reason")"; }
tree=$work/${work##*/}
reason=$(mkdir "$work/sent" "$tree" 2>&1) || fail "$(why "$reason")"
reason=$({ gzip -dc | tar -xmf - -C "$work/sent"; } 2>&1) || fail "$(why "$reason")"
manifest=$work/sent/manifest
sum=$($hash <"$manifest") || fail 'what arrived is not what was sent'
[ "${sum%%[!0-9a-f]*}" = "$SANE_DIGEST" ] || fail 'what arrived is not what was sent'
candidates "$manifest"
whole_candidates
# What each file is made of: one content is linked where the modes agree, and copied where they don't.
(cd "$work/sent" && find . -type f ! -name manifest) | sed 's/^..//' >"$work/new"
awk -F"$tab" -v whole="$work/whole" -v new="$work/new" -v sent="$work/sent" -v releases="$releases" '
    BEGIN {
        while ((getline line < whole) > 0) { split(line, f, "\t"); from[f[1]] = releases "/" f[3]; mode[f[1]] = f[2] }
        while ((getline line < new) > 0) { from[line] = sent "/" line; delete mode[line] }
    }
    $1 == "f" {
        if (!($3 in from)) { print "x\t-\t" $5; next }
        if (!($3 in mode)) mode[$3] = $2
        print (mode[$3] == $2 ? "l" : "c") "\t" from[$3] "\t" $5
    }' "$manifest" >"$work/made"
awk -F"$tab" '{ path = $5; if ($1 != "d") { if (!sub("/[^/]*$", "", path)) next } if (!seen[path]++) print path }' \
    "$manifest" >"$work/list"
reason=$(cd "$tree" && [ ! -s "$work/list" ] || sed 's/^/.\//' "$work/list" | tr '\n' '\0' | xargs -0 mkdir -p 2>&1) ||
    fail "$(why "$reason")"
while IFS=$tab read -r how from path; do
    case $how in
    l) ln "$from" "$tree/$path" 2>/dev/null || reason=$(cp "$from" "$tree/$path" 2>&1) || fail "$(why "$reason")" ;;
    c) reason=$(cp "$from" "$tree/$path" 2>&1) || fail "$(why "$reason")" ;;
    *) fail "the host lost the content of $path meanwhile: push again" ;;
    esac
done <"$work/made"
while IFS=$tab read -r kind mode sum size path target; do
    [ "$kind" = l ] || continue
    reason=$(ln -s -- "$target" "$tree/$path" 2>&1) || fail "$(why "$reason")"
done <"$manifest"
for mode in $(awk -F"$tab" '$1 == "f" { print $2 }' "$manifest" | sort -u); do
    awk -F"$tab" -v mode="$mode" '$1 == "f" && $2 == mode { print "./" $5 }' "$manifest" | tr '\n' '\0' |
        (cd "$tree" && xargs -0 chmod "$mode") || fail "the mode $mode can't be set"
done
bad=$(damaged_in "$tree" "$manifest" | head -n 1)
[ -z "$bad" ] || fail "$bad is not what was sent"
reason=$(cp "$manifest" "$work/kept" 2>&1 && mv -f "$work/kept" "$releases/.sane/$SANE_DIGEST" 2>&1) ||
    fail "$(why "$reason")"
if [ -d "$releases/$SANE_DIGEST" ]; then
    damaged_in "$releases/$SANE_DIGEST" "$manifest" >"$work/damaged"
    while IFS= read -r path; do
        case $path in */*) mkdir -p "$releases/$SANE_DIGEST/${path%/*}" ;; esac
        if [ -d "$tree/$path" ]; then mkdir -p "$releases/$SANE_DIGEST/$path"
        else reason=$(mv -f "$tree/$path" "$releases/$SANE_DIGEST/$path" 2>&1) || fail "$(why "$reason")"; fi
    done <"$work/damaged"
else
    reason=$(mv "$tree" "$releases/$SANE_DIGEST" 2>&1) || fail "$(why "$reason")"
    # Another push of the same bundle was first: ours went into it.
    rm -rf "$releases/$SANE_DIGEST/${work##*/}"
fi
name_release
printf 'done=1\n'
"""
)

ACTIVATE = (
    _COMMON
    + r"""
find_root
release=$SANE_RELEASE
[ ! -L "$releases/$release" ] || release=$(readlink "$releases/$release")
case $release in */*) fail "$releases/$SANE_RELEASE leads out of it" ;; esac
[ -d "$releases/$release" ] || { printf 'absent=1\n'; fail "there is no release '$SANE_RELEASE' in $releases"; }
[ -L "$root/current" ] || [ ! -e "$root/current" ] || fail "$root/current is no link"
was=$(readlink "$root/current" 2>/dev/null)
was=${was#"$root"/}
was=${was#releases/}
[ ! -L "$releases/$was" ] || was=$(readlink "$releases/$was")
mkdir -p "$releases/.sane" 2>/dev/null
if [ "$was" != "$release" ]; then
    if [ -n "$was" ]; then
        reason=$({ printf '%s\n' "$was" >"$releases/.sane-previous.new" &&
            mv -f "$releases/.sane-previous.new" "$releases/.sane-previous"; } 2>&1) || fail "$(why "$reason")"
    fi
    turn_link "releases/$release" "$root/current"
    printf 'changed=1\n'
fi
[ ! -e "$releases/.sane/$release" ] || touch "$releases/.sane/$release"
previous=$(cat "$releases/.sane-previous" 2>/dev/null)
printf 'current=%s\nprevious=%s\nbody=\n' "$release" "$previous"
[ "$SANE_KEEP" -gt 0 ] || exit 0
number=0
for digest in $(ls -t "$releases/.sane"); do
    number=$((number + 1))
    [ $number -gt "$SANE_KEEP" ] && [ "$digest" != "$release" ] && [ "$digest" != "$previous" ] || continue
    work=$(mktemp -d "$releases/.sane-new-XXXXXXXX" 2>/dev/null) || { work=; break; }
    [ ! -d "$releases/$digest" ] || mv "$releases/$digest" "$work/" || continue
    for link in "$releases"/*; do
        [ ! -L "$link" ] || [ "$(readlink "$link")" != "$digest" ] || rm -f "$link"
    done
    rm -f "$releases/.sane/$digest"
    clean_up
    printf '%s\n' "$digest"
done
exit 0
"""
)
