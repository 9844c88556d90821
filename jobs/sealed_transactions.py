"""The Kafka transactions that a savepoint or checkpoint has sealed, and that whoever resumes from it commits first.

Kafka forgets a transactional id that nobody has used for `transactional.id.expiration.ms` (seven days). Flink's sink then fails
to commit what it finds in its state, although that was committed long ago, and the job restarts for ever (FLINK-39072). So a job
that was stopped for longer, or goes back to an older state, is resumed from a state without them:
`tradestream resume JOB --forget-transactions`.

As a program (``python -m jobs.sealed_transactions STATE``, in the environment of a submission) it writes that state's second
metadata file and prints its path. The state itself, and its own metadata, stay as they are.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jobs import topics
from jobs.config import Config, process_environment, project_root
from jobs.flink_rest import root_cause

FILE: Final = "_metadata-without-transactions"
"""Beside the state's _metadata, because files of a savepoint are named in relation to it. Flink takes its path for the state."""
FORGOTTEN: Final = "InvalidPidMappingException"
"""What Kafka says of a transaction whose id it has forgotten."""
_SEALED: Final = "streaming_committer_raw_states"
"""What the committer of a sink calls its state (Flink's CommitterOperator)."""
_OPEN: Final = ("Ongoing", "PrepareCommit", "PrepareAbort")
_PATIENCE_S: Final = 120


class TransactionsError(RuntimeError):
    """The transactions of a state cannot be left out; the message says why and what to do."""


def refuse_open_transactions(config: Config, name: str) -> None:
    """Raise TransactionsError when Kafka has transactions of the job `name` that are neither committed nor aborted."""
    prefix = f"tradestream-{name}"
    with topics.admin(config) as client:
        listed = [entry for entries in client.list_transactions(state_filters=_OPEN).values() for entry in entries]
    left = sorted(entry.transactional_id for entry in listed if entry.transactional_id.startswith(prefix))
    if left:
        raise TransactionsError(
            f"Kafka still has open transactions of {name} ({', '.join(left[:3])}), and resuming commits those that the state "
            f"has sealed: `tradestream resume {name}` without --forget-transactions"
        )


def without_transactions(state: str, environment: Mapping[str, str]) -> str:
    """The path of a state that is `state` without the transactions that it has sealed.

    `environment`: of a submission (`submit.Plan`). Raises TransactionsError.
    """
    words = [sys.executable, "-m", "jobs.sealed_transactions", state]
    done = subprocess.run(
        words,
        env=process_environment(environment),
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode:
        raise TransactionsError(f"{state} cannot be read or written: {root_cause(done.stderr)}")
    return done.stdout.splitlines()[-1]


def _main(state: str) -> None:
    from py4j.protocol import Py4JJavaError

    try:
        print(_write(state))
    except Py4JJavaError as error:
        raise SystemExit(str(error.java_exception.toString())) from None


def _write(state: str) -> str:
    """Write the second metadata file of a state with Flink's own classes; its path."""
    from pyflink.java_gateway import get_gateway

    jvm = get_gateway().jvm
    flink = jvm.org.apache.flink
    # So that a state on S3 and the like is found, when Flink's plugin for it is there.
    settings = flink.configuration.GlobalConfiguration.loadConfiguration()
    plugins = flink.core.plugin.PluginUtils.createPluginManagerFromRootFolder(settings)
    flink.core.fs.FileSystem.initialize(settings, plugins)

    access = flink.runtime.state.filesystem.AbstractFsCheckpointStorageAccess
    place = access.resolveCheckpointPointer(state)
    source = jvm.java.io.DataInputStream(place.getMetadataHandle().openInputStream())
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    metadata = flink.runtime.checkpoint.Checkpoints.loadCheckpointMetadata(source, loader, place.getExternalPointer())
    source.close()

    kept = jvm.java.util.ArrayList()
    for operator in _each(metadata.getOperatorStates()):
        if not _has_sealed(operator):
            kept.add(operator)
    changed = flink.runtime.checkpoint.metadata.CheckpointMetadata(
        metadata.getCheckpointId(), kept, metadata.getMasterStates(), metadata.getCheckpointProperties()
    )
    folder = flink.core.fs.Path(place.getExternalPointer())
    if not folder.getFileSystem().getFileStatus(folder).isDir():
        folder = folder.getParent()
    target = flink.core.fs.Path(folder, FILE)
    mode = flink.core.fs.FileSystem.WriteMode.OVERWRITE
    sink = target.getFileSystem().create(target, mode)
    flink.runtime.checkpoint.Checkpoints.storeCheckpointMetadata(changed, jvm.java.io.DataOutputStream(sink))
    sink.close()
    return str(target.toUri().toString())


def _has_sealed(operator: Any) -> bool:
    """Whether an operator is a sink's committer, by the names of its states."""
    return any(
        _SEALED in handle.getStateNameToPartitionOffsets().keySet()
        for subtask in _each(operator.getStates())
        for handle in _each(subtask.getManagedOperatorState())
    )


def _each(collection: Any) -> Iterator[Any]:
    """The elements of a Java collection; Py4J iterates over lists and sets only."""
    iterator = collection.iterator()
    while iterator.hasNext():
        yield iterator.next()


if __name__ == "__main__":
    _main(sys.argv[1])
