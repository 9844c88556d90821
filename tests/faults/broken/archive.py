"""The archive job, broken on purpose: after a restart it does not ask the tables what they have."""

from __future__ import annotations

from jobs import archive as job
from udfs.operators.clickhouse_writer import Writer
from udfs.operators.write_clickhouse import WriteClickhouse


class WriteUnfenced(WriteClickhouse):
    """The operator, whose writers take every record for a new one."""

    def _writer(self, topic: str, lane: int) -> Writer:
        writer = super()._writer(topic, lane)
        writer._read_fence = dict  # type: ignore[method-assign]
        return writer


if __name__ == "__main__":
    job.WriteClickhouse = WriteUnfenced  # type: ignore[misc]
    job.main()
