"""Every block of the README, and every example of the command line's help, runs."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from blake3 import blake3

import cas
from cas import errors
from cas.cli.main import COMMANDS, cli

ROOT = Path(__file__).parent.parent
OPTIONAL = {"torch"}
"""Libraries without which a block is left out."""
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def run_in_shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a line with ``cas`` and ``python`` being those of this interpreter."""
    python = shlex.quote(sys.executable)
    script = f'cas() {{ {python} -m cas.cli.main "$@"; }}\npython() {{ {python} "$@"; }}\n{command}'
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the fixtures in it, as a clone has them."""
    shutil.copytree(ROOT / "fixtures", tmp_path / "fixtures")
    return tmp_path


def steps(block: str) -> Iterator[tuple[str, str]]:
    """Yields the commands of a console block, which go on in lines that begin with ``>``, with the output of each."""
    for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        first, more, output = re.fullmatch(r"([^\n]*\n)((?:> ?[^\n]*\n)*)(.*)", step, re.DOTALL).groups()
        yield first + re.sub(r"^> ?", "", more, flags=re.MULTILINE), output


def test_console_blocks_run_and_print_what_they_say(workplace: Path) -> None:
    checker = doctest.OutputChecker()
    ran = 0
    for language, block in BLOCKS:
        if language != "console":
            continue
        for command, expected in steps(block):
            done = run_in_shell(command, workplace)
            assert done.returncode in (0, 1), (command, done.stdout)
            assert checker.check_output(expected, done.stdout, doctest.ELLIPSIS), (command, done.stdout)
            ran += 1
    assert ran >= 9


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = [block for language, block in BLOCKS if language == "python"]
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for block in blocks:
        needed = set(re.findall(r"^(?:import|from) (\w+)", block, re.MULTILINE))
        if not all(map(importlib.util.find_spec, needed)):
            continue  # an optional package, which not everybody has
        exec(compile(block, "README.md", "exec"), names)


def test_every_error_is_listed() -> None:
    text = (ROOT / "README.md").read_text()
    classes = [
        member for member in vars(errors).values() if isinstance(member, type) and issubclass(member, errors.CasError)
    ]
    names = [class_.__name__ for class_ in classes if class_ is not errors.CasError]
    assert len(names) >= 30
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_public_name_of_a_dataset_is_told_of() -> None:
    """In the README, or by a docstring that says what it does."""
    text = (ROOT / "README.md").read_text()
    for name in (
        "recover",
        "branch",
        "copy",
        "like",
        "delete",
        "open_async",
        "summary",
        "description",
        "rename_column",
        "undo",
        "diff",
        "merge",
        "blame",
        "revert",
    ):
        assert name in text
    for class_ in (cas.Dataset, cas.ReadOnlyDataset, cas.Column, cas.Version, cas.History, cas.Tag, cas.Branch):
        for name, member in inspect.getmembers(class_):
            if not name.startswith("_"):
                assert inspect.getdoc(member), f"{class_.__name__}.{name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_examples_run(name: str, workplace: Path) -> None:
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    assert command.epilog is not None
    found = re.search(r"Example: (.*?)(?:\n\n|\Z)", command.epilog, re.DOTALL)
    assert found, f"{name} has no example"
    if name == "init":
        shutil.copytree(ROOT / "fixtures/images", workplace / "photos")
    else:
        prepared = run_in_shell(
            "cp -r fixtures/images photos && cas init lake && cas import -q photos lake/photos; "
            "cas tag lake/photos v1.0",
            workplace,
        )
        assert prepared.returncode == 0, prepared.stdout
    line = " ".join(found[1].split())
    line = line.replace("HASH", blake3((workplace / "photos/cover.png").read_bytes()).hexdigest())
    done = run_in_shell(line, workplace)
    assert done.returncode in (0, 1), done.stdout
    assert "Traceback" not in done.stdout


def test_help_lists_every_command() -> None:
    done = run_in_shell("cas --help", ROOT)
    assert done.returncode == 0
    for name, summary in COMMANDS.items():
        assert name in done.stdout
        assert summary.split()[0] in done.stdout
