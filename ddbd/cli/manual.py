"""`ddb man` and `ddb completion`: manual pages (roff, for man(1)) and completion scripts, made of what the commands say of themselves.

A package puts them where a system looks for them: `ddb man --write /usr/share` writes man/man1/*.1, bash-completion/completions/ddb,
zsh/vendor-completions/_ddb and fish/vendor_completions.d/ddb.fish below that folder.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from ddbd import __version__
from ddbd.cli import errors
from ddbd.cli.errors import CliError

SHELLS = {"bash": "bash-completion/completions/ddb", "zsh": "zsh/vendor-completions/_ddb", "fish": "fish/vendor_completions.d/ddb.fish"}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For bash: eval "$(ddb completion bash)" in ~/.bashrc; for zsh the same in ~/.zshrc; for fish: ddb completion fish >
    ~/.config/fish/completions/ddb.fish
    """
    click.echo(completion_script(context.find_root().command, shell))


def completion_script(group: click.Command, shell: str) -> str:
    kind = get_completion_class(shell)
    assert kind is not None, shell
    made = kind(group, {}, "ddb", "_DDB_COMPLETE")
    return made.source_template % made.source_vars()  # `source()` would run the shell to ask for its version


@click.command("man")
@click.argument("command", required=False)
@click.option(
    "--write", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write all pages and completions below this folder."
)
@click.pass_context
def man(context: click.Context, command: str | None, folder: Path | None) -> None:
    """Print the manual page of ddb, or of one of its commands.

    To read it: ddb man | man -l -
    """
    root = context.find_root()
    group = root.command
    assert isinstance(group, click.Group), group
    if folder is not None:
        for path in write_all(group, root, folder):
            click.echo(path)
        return
    if command is None:
        click.echo(page(root, group), nl=False)
        return
    found = group.get_command(root, command)
    if found is None:
        raise CliError(f"ddb has no command {command}; ddb -h lists them", errors.USAGE)
    click.echo(page(click.Context(found, info_name=command, parent=root), found), nl=False)


def write_all(group: click.Group, root: click.Context, folder: Path) -> Iterator[Path]:
    pages = {"ddb": page(root, group)}
    for name in group.list_commands(root):
        command = group.get_command(root, name)
        assert command is not None, name
        pages[f"ddb-{name}"] = page(click.Context(command, info_name=name, parent=root), command)
    texts = {f"man/man1/{name}.1": text for name, text in pages.items()}
    texts |= {place: completion_script(group, shell) + "\n" for shell, place in SHELLS.items()}
    for place, text in texts.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        yield path


# One page.


def page(context: click.Context, command: click.Command) -> str:
    return "\n".join(_lines(context, command)) + "\n"


def _lines(context: click.Context, command: click.Command) -> Iterator[str]:
    name = "ddb" if context.parent is None else f"ddb-{context.info_name}"
    first, _, rest = inspect.cleandoc(command.help or "").partition("\n\n")
    yield f'.TH "{name.upper()}" "1" "" "ddbd {__version__}" "ddbd"'
    yield from (".SH NAME", f"{name} \\- {_text(' '.join(first.split()).rstrip('.'))}")
    yield from (".SH SYNOPSIS", f".B {_text(name.replace('-', ' ', 1))}", _text(" ".join(command.collect_usage_pieces(context))))
    yield ".SH DESCRIPTION"
    yield from _paragraphs(first)
    yield from _paragraphs(rest)
    options = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context)) is not None]
    yield ".SH OPTIONS"
    for words, text in filter(all, options):
        yield from (".TP", f".B {_text(words)}", _text(text))
    if isinstance(command, click.Group):
        yield from _commands(context, command)
    yield from _ends()


def _commands(context: click.Context, group: click.Group) -> Iterator[str]:
    yield ".SH COMMANDS"
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield from (".TP", f".BR ddb\\-{_text(name)} (1)", _text(command.get_short_help_str(limit=200)))
    yield from (".SH ENVIRONMENT", ".TP", ".B DDB_CONFIG", "The cluster's config.json, where \\-\\-config is not given.")
    yield from (".TP", ".B DDB_NODES", "The nodes, as host:port with commas between, where \\-\\-nodes is not given.")
    yield from (".TP", ".B XDG_STATE_HOME", "Where history and unfinished imports are kept, in ddb; ~/.local/state where it is not set.")
    yield from (".TP", ".B NO_COLOR", "No colours, whatever its value.")


def _ends() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for status, meaning in errors.MEANINGS.items():
        yield from (".TP", f".B {status}", _text(meaning))
    yield from (".SH SEE ALSO", ".BR ddb (1), twistd (1)")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        if paragraph.strip():
            yield from (".PP", _text(" ".join(paragraph.split())))


def _text(text: str) -> str:
    """Nothing in it is a command of roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith((".", "\\(aq")) else escaped
