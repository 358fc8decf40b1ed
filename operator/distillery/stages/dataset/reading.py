"""Files → the pool of distinct inputs: every line parsed once, every mistake with its file and line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distillery.errors import Problem, SpecError
from distillery.stages.dataset.formats import reader_of
from distillery.stages.dataset.pool import Pool, Pooled, duplicate_id
from distillery.stages.dataset.problems import Problems, RowError
from distillery.stages.dataset.records import JsonLines
from distillery.stages.dataset.rows import RowReader
from distillery.stages.dataset.sources import PinnedFile, SourceFile
from distillery.stages.dataset.spec import DatasetParams

OnRow = Callable[[int], None]


def read_files(
    files: Sequence[SourceFile], params: DatasetParams, on_row: OnRow | None = None
) -> tuple[Pooled, list[PinnedFile]]:
    """Read all files.

    Args:
        files: what `find_sources` found.
        params: how rows are read.
        on_row: called with the number of rows so far; it may raise to stop.

    Returns: the distinct inputs, and what exactly was read.

    Raises: SpecError with up to 20 problems, each naming file and line, or the field that no row fits.
    """
    reading = _Reading(files, params, on_row)
    pinned = [reading.read(index, file) for index, file in enumerate(files)]
    return reading.finish(), pinned


class _Reading:
    """One pass over all files."""

    def __init__(self, files: Sequence[SourceFile], params: DatasetParams, on_row: OnRow | None) -> None:
        self._files = files
        self._params = params
        self._on_row = on_row
        self._problems = Problems()
        self._rows = RowReader(params)
        self._pool = Pool(params.split.seed, params.limit, named=params.id is not None)

    def read(self, index: int, file: SourceFile) -> PinnedFile:
        """Read one file to its end, unless it has shown enough problems."""
        read = reader_of(file.format, self._params.input, self._params.system_prompt)
        lines = JsonLines(file.path, lambda line, problem: self._problems.add(file.name, line, problem))
        for line, record in lines:
            try:
                row = self._rows.read(record, read, (index, line))
                earlier = self._pool.add(row)
                if earlier is not None:
                    raise duplicate_id(row, f"{self._files[earlier[0]].name}:{earlier[1]}")
            except RowError as problem:
                self._problems.add(file.name, line, problem)
            if self._problems.full:
                break
            if self._on_row:
                self._on_row(self._rows.rows)
        if self._problems.full:
            self._problems.check()
        return PinnedFile(file.uri, lines.size, lines.sha256)

    def finish(self) -> Pooled:
        """Return the pool. Raises: SpecError."""
        self._problems.check()
        if not self._rows.rows:
            names = [file.name for file in self._files]
            problems = [
                Problem(name, "the file has no rows", "write one JSON object per line") for name in names
            ]
            raise SpecError(*problems[:20])
        self._rows.check_columns()
        return self._pool.finish()
