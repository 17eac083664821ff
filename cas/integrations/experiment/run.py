"""A run under way: what it tells is gathered, what it gives out is stored, and all of it becomes one version."""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from cas.dataset.dataset import Dataset
from cas.dataset.history import Version
from cas.dataset.read_only import ReadOnlyDataset
from cas.errors import InvalidInputError, InvalidTypeError, UncommittedChangesError, shown
from cas.integrations.experiment.content import content_of, key_of
from cas.integrations.experiment.environment import read_environment
from cas.integrations.experiment.git import read_code
from cas.integrations.experiment.record import FAILED, FINISHED, LOG_PATH, RunFile, RunInput, RunRecord
from cas.integrations.experiment.staging import Staged, open_experiment
from cas.integrations.experiment.values import Values, plain_number
from cas.integrations.folder.confined import split_path
from cas.integrations.lock.file import LockFile, read_lock
from cas.integrations.lock.locking import open_entry
from cas.integrations.lock.pin import open_pin, pin_url, portable_url
from cas.integrations.lock.toml import check_name
from cas.repo.location import Url, local_path
from cas.store.forks import renewed_in_children


@dataclass(frozen=True, slots=True)
class _Begun:
    """What is there while a run is under way: its rows, its lock file, the code, and when it began, where."""

    staged: Staged
    lock: LockFile | None
    code: dict[str, Any] | None
    started: dt.datetime
    clock: float
    pid: int


def experiment(
    url: Url,
    *,
    params: Mapping[str, Any] | None = None,
    code: str | os.PathLike[str] | bool = True,
    seeds: Mapping[str, int] | int | None = None,
    lock: str | os.PathLike[str] | None = None,
    message: str | None = None,
    record_failed: bool = True,
) -> Run:
    """Returns a run of the experiment at ``url``, to be used in a ``with``; when that ends, it is one new version.

    The experiment is a dataset, made by the first run. ``params`` are any values that metadata takes. ``code`` is a
    file or folder of the git repository of the code, ``True`` for the folder the process is in, ``False`` to note
    nothing. ``seeds`` are noted, not set. ``lock`` is a lock file whose datasets are inputs. A run that raises is
    recorded as failed, unless ``record_failed`` is False; what it raised goes on either way. A run that is killed
    leaves no version; runs that end at the same time all get theirs.

    Raises, before the block begins, :class:`~cas.errors.InvalidInputError` for values that cannot be kept and for a
    dataset that is no experiment, and what :func:`cas.open_locked` raises. Cost: git and a look at the installed
    packages, some tenths of a second a run.

    >>> import cas, tempfile
    >>> url = tempfile.mkdtemp() + "/trials"
    >>> with cas.experiment(url, params={"lr": 0.1}) as run:
    ...     run.log(step=0, loss=2.5)
    ...     run.metrics["accuracy"] = 0.75
    ...     run.output("weights", {"w": [[1, 2], [3, 4]]})
    >>> [(run.status, run.params, run.metrics) for run in cas.runs(url)]
    [('finished', {'lr': 0.1}, {'loss': 2.5, 'accuracy': 0.75})]
    """
    return Run(url, params=params, code=code, seeds=seeds, lock=lock, message=message, record_failed=record_failed)


class Run:
    """One run of an experiment: see :func:`cas.experiment`. Threads may share it.

    ``params`` and ``metrics`` are mappings that can be set until the block ends; what is read from them is a copy.
    """

    def __init__(
        self,
        url: Url,
        *,
        params: Mapping[str, Any] | None,
        code: str | os.PathLike[str] | bool,
        seeds: Mapping[str, int] | int | None,
        lock: str | os.PathLike[str] | None,
        message: str | None,
        record_failed: bool,
    ) -> None:
        if message is not None:
            _check_text(message, "the message")
        self._url = url
        self._code_at = _code_folder(code)
        self._lock_path = lock
        self._message = message
        self._record_failed = record_failed
        self.id: Final = secrets.token_hex(8)
        self.params = Values("params", params)
        self.metrics = Values("metrics")
        self._last = Values("metrics")
        self._seeds = Values("seeds", {"seed": seeds} if isinstance(seeds, int) else seeds)
        self._lock = renewed_in_children(self, threading.RLock)
        self._begun: _Begun | None = None
        self._version: str | None = None
        self._inputs: dict[str, RunInput] = {}
        self._outputs: dict[str, RunFile] = {}
        self._logged: list[bytes] = []

    # Beginning and end

    def __enter__(self) -> Self:
        if self._begun is not None or self._version is not None:
            raise InvalidInputError(f"run {self.id} has begun already; make another one with cas.experiment")
        read_environment()  # what is wrong with it is told now, not when hours of work are to be recorded
        lock = None if self._lock_path is None else read_lock(self._lock_path)
        code = None if self._code_at is None else read_code(self._code_at)
        staged = Staged(open_experiment(self._url), self.id)
        self._begun = _Begun(staged, lock, code, dt.datetime.now(dt.UTC), time.monotonic(), os.getpid())
        try:
            for name, entry in ({} if lock is None else lock.entries).items():
                assert lock is not None
                with open_entry(lock, name) as dataset:
                    self._note_input(name, dataset.version, entry.revision)
        except BaseException:
            self._begun = None
            staged.drop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            begun = self._under_way()
            self._begun = None
            if os.getpid() != begun.pid:
                return  # a forked child: the run is its parent's
            failure = None if error is None or _is_good_end(error) else _name_of(type(error))
            try:
                if failure is None or self._record_failed:
                    self._version = self._commit(begun, failure)
            finally:
                begun.staged.drop()

    def _commit(self, begun: _Begun, failure: str | None) -> str:
        # By the clock that nobody sets: the end never comes before the beginning.
        ended = begun.started + dt.timedelta(seconds=time.monotonic() - begun.clock)
        log = b"".join(self._logged)
        record = RunRecord(
            id=self.id,
            status=FINISHED if failure is None else FAILED,
            error=failure,
            started=begun.started,
            ended=ended,
            params=dict(self.params),
            metrics=dict(self._last) | dict(self.metrics),
            seeds=dict(self._seeds),
            inputs=self._inputs,
            outputs=self._outputs,
            log=RunFile(LOG_PATH, len(log), key_of(log)),
            logged=len(self._logged),
            code=begun.code,
            environment=read_environment(),
        )
        # There is always this one row, and with the run's id: so each run changes the tree, and is a version.
        begun.staged.add(LOG_PATH, [log])
        message = self._message or f"Run {self.id} {record.status}" + (f": {failure}" if failure else "")
        return begun.staged.dataset.commit(message, details=record.to_details())

    def _under_way(self) -> _Begun:
        if self._begun is None:
            when = "has ended" if self._version is not None else "is not under way"
            raise InvalidInputError(f"run {self.id} {when}; use it in the block of 'with cas.experiment(...) as run'")
        return self._begun

    @property
    def version(self) -> str:
        """The id of the run's version, once the block has ended; refused before, and where none was made."""
        if self._version is None:
            raise InvalidInputError(f"run {self.id} has no version: it is made when the block ends")
        return self._version

    # What it tells

    def input(self, name: str, source: Url | Dataset | ReadOnlyDataset | Version | None = None) -> ReadOnlyDataset:
        """Notes a version as an input under a name and opens it, for reading and at that version for good.

        ``source`` is a url, with or without a revision, an open dataset or a version; without one, it is the dataset
        that the lock file of the run pins by that name. Raises ``UncommittedChangesError`` for a dataset with staged
        changes, which are in no version, and :class:`~cas.errors.InvalidInputError` where the name has another version.
        """
        check_name(name)
        with self._lock:
            lock = self._under_way().lock
            if source is None and lock is not None:
                return open_entry(lock, name)
            if source is None:
                raise InvalidInputError(f"input {name!r} needs a dataset or url; the run was given no lock file")
            opened, revision = _open_input(name, source)
            self._note_input(name, opened.version, revision)
            return opened

    def _note_input(self, name: str, version: Version, revision: str | None) -> None:
        path = Path(version._repository.path, version._name)
        store = self._under_way().staged.dataset._repository.path
        found = RunInput(portable_url(path, store), version.id, version.tree, revision)
        before = self._inputs.setdefault(name, found)
        if (before.version, before.tree) != (found.version, found.tree):
            raise InvalidInputError(
                f"input {name!r} is version {before.version[:12]} already, and not {found.version[:12]}; "
                f"give the other one a name of its own"
            )

    def log(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Notes a row of values, such as those of a step: numbers, text, bool or None.

        The last value of each name, ``step`` apart, is a metric of the run, unless ``metrics`` has one. The rows are
        kept as lines of JSON, in memory until the run ends.
        """
        row = {name: _scalar(name, value) for name, value in {**(values or {}), **more}.items()}
        if not row:
            raise InvalidInputError("a row to be logged needs at least one value, such as loss=0.5")
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            self._under_way()
            self._last.update({name: value for name, value in row.items() if name != "step"})
            self._logged.append(line)

    def output(self, name: str, value: object) -> None:
        """Stores a file that the run gives out, bit for bit; one of the same name takes the place of an earlier one.

        ``value`` is the path of a file; a dict of NumPy arrays or torch tensors (kept as ``safetensors``); an array or
        tensor (``npy``); bytes; or what JSON has. The name, which may have folders, gets the file's ending where it
        has it not. Content is read now, so it may change afterwards. Memory: some 64 MiB, and what is converted.
        """
        split_path(_check_text(name, "the name of an output"))
        content = content_of(value)
        path = name if name.endswith(content.suffix) else name + content.suffix
        split_path(path)
        with self._lock:
            staged = self._under_way().staged
            for other, file in self._outputs.items():
                if other != name and file.path == path:
                    raise InvalidInputError(f"outputs {other!r} and {name!r} would both be {path!r}; rename one")
            stored = staged.add(_stored_path(path), content.parts)
            if name in self._outputs and self._outputs[name].path != path:
                staged.remove(_stored_path(self._outputs[name].path))
            self._outputs[name] = RunFile(path, stored.size_bytes, stored.digest().hex())

    def __repr__(self) -> str:
        how = "under way" if self._begun is not None else "not begun" if self._version is None else "ended"
        return f"<Run {self.id}, {how}>"


def _stored_path(path: str) -> str:
    return f"outputs/{path}"


def _open_input(name: str, source: Url | Dataset | ReadOnlyDataset | Version) -> tuple[ReadOnlyDataset, str | None]:
    """Opens what was given as an input, at its version; and the branch or tag that it was named by."""
    # By handles of its own: one that is closed leaves the store of the other one open.
    what = f"input {name!r}"
    if isinstance(source, (Dataset, ReadOnlyDataset, Version)):
        if isinstance(source, Dataset) and source.has_changes:
            raise UncommittedChangesError(f"{what} has uncommitted changes, which are in no version; commit first")
        version = source if isinstance(source, Version) else source.version
        path = Path(version._repository.path, version._name)
        revision = source.branch_name if isinstance(source, Dataset) else None
        return open_pin(os.fspath(path), version.id, version.tree, what), revision
    pin = pin_url(source)
    return open_pin(os.fspath(pin.path), pin.version, pin.tree, what), pin.revision


def _check_text(text: object, what: str) -> str:
    """Returns text that a version can keep."""
    if not isinstance(text, str):
        raise InvalidTypeError(f"{what} is {shown(text)}; expected text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{what} is {shown(text)}, which is no Unicode text") from None
    return text


def _scalar(name: object, value: object) -> Any:
    if not isinstance(name, str):
        raise InvalidTypeError(f"a logged value is named {shown(name)}; expected text")
    _check_text(name, "the name of a logged value")
    found = plain_number(value)
    if getattr(found, "ndim", None) == 0 and hasattr(found, "item"):
        found = found.item()
    if isinstance(found, str):
        _check_text(found, f"the value of {name!r}")
    if found is not None and not isinstance(found, (bool, int, float, str)):
        raise InvalidTypeError(
            f"{name!r} cannot be logged: {shown(value)}; expected a number, text, bool or None (run.output takes more)"
        )
    return found


def _code_folder(code: object) -> Path | None:
    if code is False:
        return None
    if code is True or code is None:
        return Path.cwd()
    if not isinstance(code, (str, os.PathLike)):
        raise InvalidTypeError(
            f"code={shown(code)} is not valid; expected a file or folder of a git repository, or a bool"
        )
    path = local_path(code, "code")
    if not os.path.exists(path):
        raise InvalidInputError(f"code={shown(code)} is not there; expected a file or folder of a git repository")
    return path if path.is_dir() else path.parent


def _is_good_end(error: BaseException) -> bool:
    """Whether a program that ends with it has done what it was to do."""
    return isinstance(error, SystemExit) and error.code in (None, 0)


def _name_of(kind: type[BaseException]) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
