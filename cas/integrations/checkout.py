"""A version to a folder, whatever it holds: images as files, a run with its inputs, anything else as a dataset."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from cas.dataset.opening import copy, exists, open_read_only
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import CasError, ExistsError, InvalidInputError, NotFoundError
from cas.history.refs import MAIN
from cas.integrations.experiment.files import RunFiles
from cas.integrations.experiment.reading import RecordedRun, run_of
from cas.integrations.experiment.record import RunInput
from cas.integrations.folder.checkout import (
    CheckoutConflictError,
    CheckoutResult,
    checkout,
    has_images,
    write_files,
)
from cas.integrations.folder.confined import ConfinedFolder
from cas.integrations.folder.importing import Report
from cas.integrations.lock.file import LockFile
from cas.integrations.lock.locking import open_entry
from cas.integrations.lock.pin import open_pin, portable_url
from cas.integrations.lock.toml import Entry, check_name
from cas.repo.location import parse_url


@dataclass(frozen=True, slots=True)
class Options:
    """How files are written: see :func:`cas.integrations.folder.checkout.checkout`."""

    force: bool = False
    jobs: int = 4
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class PinnedCheckout:
    """What became of a pinned dataset: its folder with what was done there, or why it was left out."""

    name: str
    version: str
    folder: str
    result: CheckoutResult | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RunCheckout:
    """What a checkout of a run did: with its own files, and with each of its inputs."""

    files: CheckoutResult
    inputs: list[PinnedCheckout] = field(default_factory=list)


def write_version(dataset: ReadOnlyDataset, folder: str | os.PathLike[str], options: Options) -> CheckoutResult:
    """Writes a version to a folder in the form that suits what it holds.

    A dataset of images as its files; a run of an experiment as its outputs and what was noted, without its inputs;
    anything else as a store of its own with that dataset, the version on ``main``, which opens as any other. Such a
    store is never replaced: where another version is there, :class:`CheckoutConflictError` is raised.
    """
    target = Path(folder).expanduser()
    run = run_of(dataset.version)
    if run is None and not has_images(dataset):
        return _copy_dataset(dataset, target)
    _refuse_stores(target)
    if run is not None:
        return _write_run(dataset, run, target, {}, options)
    return checkout(dataset, target, force=options.force, jobs=options.jobs, report=options.report)


def checkout_run(dataset: ReadOnlyDataset, folder: str | os.PathLike[str], options: Options) -> RunCheckout:
    """Brings back a run, in one folder: data, model and parameters.

    ``outputs/...`` are its files, ``inputs/NAME`` its inputs by :func:`write_version`, ``params.json`` its parameters,
    ``metrics.jsonl`` what it logged, ``run.json`` all that was noted, and ``cas.lock`` pins the inputs. An input whose
    dataset is not to be found, has another tree, or whose folder is taken is left out, with the reason; it is pinned
    nevertheless. Raises :class:`CheckoutConflictError` where files of others are in the way, and nothing is written.
    """
    run = run_of(dataset.version)
    if run is None:
        raise InvalidInputError(f"version {dataset.version.id[:12]} is no run; 'cas log --experiments' lists them")
    target = Path(folder).expanduser()
    _refuse_stores(target)
    with ExitStack() as stack:
        opened = {name: _open_input(dataset, name, pinned, stack) for name, pinned in run.inputs.items()}
        done = RunCheckout(_write_run(dataset, run, target, opened, options))
        for name, source in opened.items():
            version = run.inputs[name].version
            done.inputs.append(_write_below(target, f"inputs/{name}", name, version, source, options))
    return done


def checkout_locked(lock: LockFile, folder: str | os.PathLike[str], options: Options) -> list[PinnedCheckout]:
    """Writes all datasets of a lock file, each to the folder of its name below ``folder``, by :func:`write_version`.

    What cannot be opened as it was pinned, or whose folder is taken, is left out, with the reason.
    """
    target = Path(folder).expanduser()
    target.mkdir(parents=True, exist_ok=True)
    done = []
    for name, entry in lock.entries.items():
        with ExitStack() as stack:
            try:
                source: ReadOnlyDataset | CasError = stack.enter_context(open_entry(lock, name))
            except CasError as error:
                source = error
            done.append(_write_below(target, name, name, entry.version, source, options))
    return done


def _open_input(dataset: ReadOnlyDataset, name: str, pinned: RunInput, stack: ExitStack) -> ReadOnlyDataset | CasError:
    url = os.path.join(dataset._repository.path, pinned.url)
    try:
        check_name(name)
        return stack.enter_context(open_pin(url, pinned.version, pinned.tree, f"input {name!r}"))
    except CasError as error:
        return error


def _write_run(
    dataset: ReadOnlyDataset,
    run: RecordedRun,
    target: Path,
    opened: Mapping[str, ReadOnlyDataset | CasError],
    options: Options,
) -> CheckoutResult:
    """Writes the files of a run, with a lock file of its inputs; one that is copied is pinned where the copy is."""
    entries: dict[str, Entry] = {}
    for name, pinned in run.inputs.items():
        try:
            check_name(name)
        except InvalidInputError:
            continue
        if _will_be_copied(opened.get(name), target, f"inputs/{name}"):
            entries[name] = Entry(f"inputs/{name}", pinned.version, pinned.tree)
        else:
            place = Path(dataset._repository.path, pinned.url)
            entries[name] = Entry(portable_url(place, target), pinned.version, pinned.tree, pinned.revision)
    files = RunFiles(dataset, run, entries)
    return write_files(files, target, force=options.force, jobs=options.jobs, report=options.report)


def _will_be_copied(source: ReadOnlyDataset | CasError | None, target: Path, path: str) -> bool:
    """Whether there will be a copy of a dataset at a place, or is one by an earlier checkout."""
    if not isinstance(source, ReadOnlyDataset) or run_of(source.version) is not None or has_images(source):
        return False
    place = target / path
    return not os.path.lexists(place) or _holds(place, source.version.id)


def _write_below(
    target: Path, path: str, name: str, version: str, source: ReadOnlyDataset | CasError, options: Options
) -> PinnedCheckout:
    """Writes a dataset to a folder below another one, links not followed."""
    if isinstance(source, CasError):
        return PinnedCheckout(name, version, path, None, str(source))
    try:
        _check_way(target, path)
        return PinnedCheckout(name, version, path, write_version(source, target / path, options))
    except (CheckoutConflictError, InvalidInputError) as error:
        return PinnedCheckout(name, version, path, None, str(error))


def _check_way(target: Path, path: str) -> None:
    """Refuses a folder that a link or file stands in the way of, so that nothing is written outside of ``target``."""
    confined = ConfinedFolder(target)
    try:
        status = confined.status(path)
    finally:
        confined.close()
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise CheckoutConflictError(f"a file or link is in the way of {target / path}; move it away", paths=[path])


def _refuse_stores(folder: Path, *, is_store: bool = False) -> None:
    """Refuses a folder in a store, or that is one, unless it is to be one."""
    place = parse_url(os.path.realpath(folder))
    if place.store is not None and not (is_store and not place.name):
        raise InvalidInputError(f"{folder} is in the store {place.store}; choose a folder outside of it")


def _copy_dataset(dataset: ReadOnlyDataset, target: Path) -> CheckoutResult:
    _refuse_stores(target, is_store=True)
    if _holds(target, dataset.version.id):
        return CheckoutResult(unchanged=1)
    if exists(target):
        raise CheckoutConflictError(
            f"{target} holds a dataset at another version; move it away, or choose another folder", paths=[str(target)]
        )
    try:
        copied = copy(dataset, target)
    except ExistsError as error:
        raise CheckoutConflictError(f"{target} is taken: {error}", paths=[str(target)]) from error
    with copied:
        columns = copied._repository.tree(bytes.fromhex(copied.version.tree)).columns
        return CheckoutResult(written=1, written_bytes=sum(column.size_bytes for column in columns))


def _holds(place: Path, version: str) -> bool:
    """Whether there is a store with a dataset whose ``main`` is at a version."""
    try:
        with open_read_only(place, MAIN) as there:
            return there.version.id == version
    except NotFoundError:
        return False
