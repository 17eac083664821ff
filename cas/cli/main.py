"""The command ``cas``: one module per command, imported when it is called."""

from __future__ import annotations

import codecs
import importlib
import io
import os
import sys
import warnings
from typing import Final, TextIO

import click

from cas import __version__
from cas.errors import (
    CasError,
    ConflictError,
    CorruptedError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    StoreError,
    UnsupportedError,
)

COMMANDS: Final = {
    "init": "Make a store for many datasets.",
    "import": "Bring images, rows of many formats or a checkpoint into a dataset, or up to date with them.",
    "log": "List the versions of a dataset.",
    "reflog": "List where branches and tags have been, also deleted ones.",
    "show": "Show one version: its message, schema, size and what changed.",
    "diff": "Show what changed from one version to another.",
    "blame": "Show which version made each value of a column what it is.",
    "ls": "List the datasets of a store, or the rows of a dataset.",
    "tag": "List, make, rename or delete tags.",
    "branch": "List, make, rename or delete branches.",
    "merge": "Merge a version into a branch, row by row.",
    "revert": "Give a branch the content of an earlier version again.",
    "undo": "Take a branch back to where it was before its last move.",
    "recover": "List, commit or drop what was left uncommitted.",
    "stats": "Count rows, bytes and what deduplication saves.",
    "du": "Count what deleting branches and tags would free.",
    "duplicates": "List groups of identical rows, or of images that look alike.",
    "leaks": "List rows that stand in another dataset or split too.",
    "export": "Write a version in another format: parquet, webdataset, imagefolder, safetensors.",
    "checkout": "Write the images of a version, or all of a run, to a folder, bit for bit.",
    "lock": "Pin versions of datasets in a file, verify them, and write them out.",
    "gc": "Remove what no branch, tag or recent move leads to.",
    "fsck": "Check every stored byte, and repair from another store.",
    "cat-file": "Print a stored blob by its hash.",
}

EXIT_OK: Final = 0
EXIT_INCOMPLETE: Final = 1
EXIT_USAGE: Final = 2
EXIT_CONFLICT: Final = 4
EXIT_DAMAGED: Final = 5
_EXIT_CODES: Final[tuple[tuple[type[CasError], int], ...]] = (
    (NotFoundError, 3),
    (ExistsError, EXIT_CONFLICT),
    (ConflictError, EXIT_CONFLICT),
    (CorruptedError, EXIT_DAMAGED),
    (StoreError, 6),
    (ReadOnlyError, 6),
    (UnsupportedError, 7),
    (InvalidInputError, EXIT_USAGE),
)
_EXIT_FAILED: Final = 1
_EXIT_INTERRUPTED: Final = 130
_EPILOG: Final = """\b
Exit codes: 0 done; 1 done, but something was left out, or leaks were found (it is listed), or
differences with diff --exit-code; 2 wrong usage or input; 3 not found; 4 exists already, or a
conflict; 5 damaged data; 6 storage failed; 7 unsupported.
"""


def exit_code(error: CasError) -> int:
    """Returns the exit code for an error."""
    return next((number for kind, number in _EXIT_CODES if isinstance(error, kind)), _EXIT_FAILED)


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module("cas.cli." + cmd_name.replace("-", "_").replace("import", "import_"))
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cas")
def cli() -> None:
    """Git for tensors: datasets as deduplicated, exact, durable versions.

    A URL is the path of a dataset: of a store made for it alone, or NAME below a store made by "cas init". A
    revision stands behind an @: lake/cats@v1.0, lake/cats@main~2, lake/cats@3f2a.
    """


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    click.echo(f"cas: {message}", err=True)


def _print_any_text() -> None:
    """Lets names be printed that the encoding of the output lacks, and those of files that are no text at all."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        utf_8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf_8 else "backslashreplace")


def run() -> None:
    """Runs the command line; errors become one line and an exit code, warnings one line."""
    warnings.showwarning = _show_warning
    _print_any_text()
    try:
        # Not cli.main, which keeps interruptions and broken pipes to itself.
        with cli.make_context("cas", sys.argv[1:]) as context:
            code = cli.invoke(context)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.Abort:
        code = _EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "cas"
        click.echo(f"cas: {error.format_message()} See: {where} --help", err=True)
        code = error.exit_code
    except click.ClickException as error:
        click.echo(f"cas: {error.format_message()}", err=True)
        code = error.exit_code
    except KeyboardInterrupt:
        click.echo("cas: interrupted; nothing is lost: run the same command again to go on", err=True)
        code = _EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; keep the interpreter from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    except CasError as error:
        click.echo(f"cas: {error}", err=True)
        code = exit_code(error)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        click.echo(f"cas: {name}{error.strerror or error}", err=True)
        code = 6
    sys.exit(code if isinstance(code, int) else EXIT_OK)


if __name__ == "__main__":
    run()
