"""Records of a run as a list that also becomes a table, for notebooks."""

from __future__ import annotations

from typing import Any, TypeVar

from tpt.system.jsonl import to_table

T = TypeVar("T")


class RecordList(list[T]):
    """Records in the order of their file.

    ::

        >>> from tpt import Problem
        >>> problems = RecordList([Problem("p", "1 + 1?", "2")])
        >>> problems[0].answer
        '2'
        >>> problems.to_dataset().column_names[:3]
        ['id', 'question', 'answer']
        >>> problems.to_pandas().shape[0]
        1
    """

    def rows(self) -> list[dict[str, Any]]:
        """Return the records as plain dicts; a list of unit tests is a column of JSON-like values."""
        return [to_table(each) for each in self]

    def to_dataset(self) -> Any:
        """Return a ``datasets.Dataset``."""
        from datasets import Dataset

        return Dataset.from_pandas(self.to_pandas(), preserve_index=False)

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame``."""
        import pandas

        return pandas.DataFrame(self.rows())

    def to_polars(self) -> Any:
        """Return a ``polars.DataFrame``; needs ``pip install polars``."""
        import polars

        return polars.DataFrame(self.rows(), infer_schema_length=None)
