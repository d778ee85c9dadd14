"""`sane completion`: print the completion script of a shell."""

from __future__ import annotations

import click

# Before the completion of `sane` itself, so that a line in a bare .zshrc is enough.
_ZSH_START = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }"
_PANES = "tmux list-panes -a -F '#{session_name}:#{window_index}.#{pane_index}' 2>/dev/null"
_OPTIONS = "--query --output --help"

# What a primitive takes first is a target: the panes there are now. Bash parts words at colons, so the typed word is
# taken from the line, and what stands before its last colon is left out of the answer.
_BASH = """\
_sane_targets() {
    local line=${COMP_LINE:0:COMP_POINT} words="local: $(%(panes)s)"
    local typed=${line##*[[:space:]]}
    local before=${line%%"$typed"}
    if [[ $typed == -* ]]; then
        words="%(options)s"
        [[ $1 == sane-run-command ]] && words+=" --exit-status"
    elif [[ $before =~ [^[:space:]][[:space:]]+[^[:space:]] ]]; then compopt -o default; return; fi
    COMPREPLY=($(compgen -W "$words" -- "$typed"))
    [[ $COMP_WORDBREAKS == *:* ]] && COMPREPLY=("${COMPREPLY[@]#"${typed%%"${typed##*:}"}"}")
}
complete -F _sane_targets %(names)s"""

_ZSH = """\
_sane_targets() {
    if [[ $PREFIX == -* ]]; then
        compadd -- %(options)s
        [[ $words[1] == sane-run-command ]] && compadd -- --exit-status
    elif (( CURRENT == 2 )); then compadd -- local: ${(f)"$(%(panes)s)"}
    else _files; fi
}
compdef _sane_targets %(names)s"""

_FISH = """\
for name in %(names)s
    complete -c $name -n 'test (count (commandline -opc)) -eq 1' -f -a 'local: (%(panes)s)'
    complete -c $name -l query -x -d 'print only what this JMESPath expression selects'
    complete -c $name -l output -x -a 'json ndjson table'
    complete -c $name -l help
end
complete -c sane-run-command -l exit-status -d "exit with the command's own code"
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
    from sane.verbs.registry import VERB_NAMES

    names = " ".join(f"sane-{name}" for name in VERB_NAMES)
    template = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]
    panes = _PANES.replace("'", '"') if shell == "fish" else _PANES
    return template % {"panes": panes, "options": _OPTIONS, "names": names}
