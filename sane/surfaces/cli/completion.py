"""`sane completion`: print the completion script of a shell."""

from __future__ import annotations

from collections.abc import Iterable

import click

# Before the completion of `sane` itself, so that a line in a bare .zshrc is enough.
_ZSH_START = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }"
_PANES = "tmux list-panes -a -F '#{session_name}:#{window_index}.#{pane_index}' 2>/dev/null"

# What a primitive takes first is a target: the panes there are now. Bash parts words at colons, so the typed word is
# taken from the line, and what stands before its last colon is left out of the answer. A session may have any name:
# nothing of it may be taken for shell, as `compgen -W` would.
_BASH = """\
_sane_targets() {
    local line=${COMP_LINE:0:COMP_POINT} words=$'local:\\n'"$(%(panes)s)" word quoted
    local typed=${line##*[[:space:]]}
    local before=${line%%"$typed"}
    if [[ $typed == -* ]]; then
        case ${1##*/} in
%(cases)s
        esac
    elif [[ $before =~ [^[:space:]][[:space:]]+[^[:space:]] ]]; then compopt -o default; return; fi
    COMPREPLY=()
    while IFS= read -r word; do
        printf -v quoted %%q "$word"
        [[ $word == "$typed"* || $quoted == "$typed"* ]] && COMPREPLY+=("$quoted")
    done <<<"$words"
    [[ $COMP_WORDBREAKS == *:* ]] && COMPREPLY=("${COMPREPLY[@]#"${typed%%"${typed##*:}"}"}")
}
complete -F _sane_targets %(names)s"""

_ZSH = """\
_sane_targets() {
    local words_of
    if [[ $PREFIX == -* ]]; then
        case ${words[1]:t} in
%(cases)s
        esac
        compadd -- ${(f)words_of}
    elif (( CURRENT == 2 )); then compadd -- local: ${(f)"$(%(panes)s)"}
    else _files; fi
}
compdef _sane_targets %(names)s"""

_FISH = """\
for name in %(names)s
    complete -c $name -n 'test (count (commandline -opc)) -eq 1' -f -a 'local: (%(panes)s)'
end
%(cases)s
"""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes `sane` and the primitives in a shell.

    \b
    Example:
      sane completion bash >> ~/.bashrc
      sane completion zsh >> ~/.zshrc
      sane completion fish > ~/.config/fish/completions/sane.fish
    """
    from click.shell_completion import get_completion_class

    from sane.surfaces.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}")
    script = found(cli, {}, "sane", "_SANE_COMPLETE").source()
    if shell == "fish":  # click parts its answers at every comma, and so cuts descriptions short
        script = script.replace('string split ","', 'string split -m 1 ","')
    if shell == "zsh":
        script = script.replace("#compdef sane\n", f"#compdef sane\n{_ZSH_START}\n")
    click.echo(script)
    click.echo(_primitives(shell))


def _primitives(shell: str) -> str:
    from sane.surfaces.cli.arguments import option_helps
    from sane.verbs.registry import VERB_NAMES, load_verb

    names = [f"sane-{name}" for name in VERB_NAMES]
    options = {f"sane-{name}": option_helps(load_verb(name)) for name in VERB_NAMES}
    if shell == "fish":
        cases = [_fish_case(name, *option) for name, of_verb in options.items() for option in of_verb.items()]
    else:
        variable = "words" if shell == "bash" else "words_of"
        cases = [_case(name, of_verb, variable) for name, of_verb in options.items()]
    template = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]
    panes = _PANES.replace("'", '"') if shell == "fish" else _PANES
    return template % {"panes": panes, "cases": "\n".join(cases), "names": " ".join(names)}


def _case(name: str, options: Iterable[str], variable: str) -> str:
    words = "\\n".join(f"--{option}" for option in options)
    return f"            {name}) {variable}=$'{words}' ;;"


def _fish_case(name: str, option: str, text: str) -> str:
    text = text.replace("\\", "\\\\").replace("'", "\\'")
    values = " -x -a 'json ndjson table'" if option == "output" else ""
    return f"complete -c {name} -l {option}{values} -d '{text}'"
