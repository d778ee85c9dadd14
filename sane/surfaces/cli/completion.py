"""`sane completion`: print the completion script of a shell."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes `sane` in a shell.

    \b
    Example:
      sane completion bash >> ~/.bashrc
    """
    from click.shell_completion import get_completion_class

    from sane.surfaces.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(found(cli, {}, "sane", "_SANE_COMPLETE").source())
    click.echo(_primitives(shell))


def _primitives(shell: str) -> str:
    from sane.verbs.registry import VERB_NAMES

    names = [f"sane-{name}" for name in VERB_NAMES]
    # What a primitive takes first is a pane: the sessions and panes there are now.
    listing = "tmux list-panes -a -F '#{session_name}:#{window_index}.#{pane_index}' 2>/dev/null"
    if shell == "fish":
        return "\n".join(f'complete -c {name} -f -a "({listing})"' for name in names)
    if shell == "zsh":
        return (
            f'_sane_targets() {{ compadd -- ${{(f)"$({listing})"}} local: }}\ncompdef _sane_targets {" ".join(names)}'
        )
    return (
        f'_sane_targets() {{ COMPREPLY=($(compgen -W "local: $({listing})" -- "${{COMP_WORDS[COMP_CWORD]}}")); }}\n'
        f"complete -F _sane_targets {' '.join(names)}"
    )
