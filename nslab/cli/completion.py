"""`nslab completion`: the script that teaches a shell to complete nslab's commands and the running lab's names."""

from __future__ import annotations

import click

COMPLETE_VARIABLE = "_NSLAB_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  source <(nslab completion bash)
    zsh:   source <(nslab completion zsh)
    fish:  nslab completion fish | source
    """
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(ctx.find_root().command, {}, "nslab", COMPLETE_VARIABLE).source())
