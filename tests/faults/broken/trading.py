"""The trading job, broken on purpose: its sink writes at least once, so that a failure repeats what was said already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs import trading as job
from jobs.config import Config
from jobs.runtime import Environments, create_sink


def at_least_once(
    env: Environments,
    config: Config,
    table: str,
    topics: Sequence[str],
    *,
    transactional_prefix: str | None,
    extra: Mapping[str, str] | None = None,
) -> None:
    """`create_sink` without transactions."""
    del transactional_prefix
    create_sink(env, config, table, topics, transactional_prefix=None, extra=extra)


if __name__ == "__main__":
    job.create_sink = at_least_once
    job.main()
