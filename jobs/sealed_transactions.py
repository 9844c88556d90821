"""The Kafka transactions that a savepoint or checkpoint has sealed, and that whoever resumes from it commits first.

Kafka forgets a transactional id that nobody has used for `transactional.id.expiration.ms` (seven days). Flink's sink then fails
to commit what it finds in its state, although that was committed long ago, and the job restarts for ever (FLINK-39072). So a job
that was stopped for longer, or goes back to an older state, is resumed from a state without them:
`tradestream resume JOB --forget-transactions`.

As a program (``python -m jobs.sealed_transactions STATE``, in the environment of a submission) it writes that state's second
metadata file and prints its path. The state itself, and its own metadata, stay as they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
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
OPEN: Final = ("Ongoing", "PrepareCommit", "PrepareAbort")
"""The states of a transaction that is neither committed nor aborted."""
_PATIENCE_S: Final = 120
_REFUSED: Final = 3


class TransactionsError(RuntimeError):
    """The transactions of a state cannot be left out; the message says why and what to do."""


def transactions(config: Config, states: Sequence[str] | None = None) -> list[str]:
    """The ids of the transactions, of whatever job, that Kafka remembers, or of those in some states."""
    with topics.admin(config) as client:
        listed = client.list_transactions(state_filters=states).values()
    return sorted(entry.transactional_id for entries in listed for entry in entries)


def without_transactions(state: str, environment: Mapping[str, str], still_open: Sequence[str]) -> str:
    """The path of a state that is `state` without the transactions that it has sealed.

    `environment`: of a submission (`submit.Plan`). Raises TransactionsError, also when the state has sealed one of those that
    are `still_open`: nothing may be left out that could be committed.
    """
    words = [sys.executable, "-m", "jobs.sealed_transactions", state]
    done = subprocess.run(
        words,
        env=process_environment(environment),
        cwd=project_root(),
        input=json.dumps(list(still_open)),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode == _REFUSED:
        raise TransactionsError(
            f"Kafka still has a transaction that {state} has sealed ({done.stdout.splitlines()[-1]}), and resuming commits it: "
            "resume without --forget-transactions"
        )
    if done.returncode:
        raise TransactionsError(f"{state} cannot be read or written: {root_cause(done.stderr)}")
    return done.stdout.splitlines()[-1]


def _main(state: str) -> None:
    from py4j.protocol import Py4JJavaError

    try:
        print(_write(state, json.load(sys.stdin)))
    except Py4JJavaError as error:
        raise SystemExit(str(error.java_exception.toString())) from None


def _write(state: str, still_open: Sequence[str]) -> str:
    """Write the second metadata file of a state with Flink's own classes; its path. Exits when it has sealed one that is open."""
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
        sealed = list(_sealed(operator))
        if not sealed:
            kept.add(operator)
        for transaction in still_open:
            if any(_written(transaction) in state_bytes for state_bytes in sealed):
                print(transaction)
                raise SystemExit(_REFUSED)
    changed = flink.runtime.checkpoint.metadata.CheckpointMetadata(
        metadata.getCheckpointId(), kept, metadata.getMasterStates(), metadata.getCheckpointProperties()
    )
    target = flink.core.fs.Path(place.getExclusiveCheckpointDir(), FILE)
    mode = flink.core.fs.FileSystem.WriteMode.OVERWRITE
    sink = target.getFileSystem().create(target, mode)
    flink.runtime.checkpoint.Checkpoints.storeCheckpointMetadata(changed, jvm.java.io.DataOutputStream(sink))
    sink.close()
    return str(target.toUri().toString())


def _sealed(operator: Any) -> Iterator[bytes]:
    """What a sink's committer has in its state, one entry for each subtask; nothing of other operators."""
    for subtask in _each(operator.getStates()):
        for handle in _each(subtask.getManagedOperatorState()):
            if _SEALED in handle.getStateNameToPartitionOffsets().keySet():
                stream = handle.openInputStream()
                yield bytes(stream.readAllBytes())
                stream.close()


def _written(transaction: str) -> bytes:
    """An id as Java's writeUTF writes it, which is how the sink serializes what it has sealed."""
    text = transaction.encode()
    return len(text).to_bytes(2, "big") + text


def _each(collection: Any) -> Iterator[Any]:
    """The elements of a Java collection; Py4J iterates over lists and sets only."""
    iterator = collection.iterator()
    while iterator.hasNext():
        yield iterator.next()


if __name__ == "__main__":
    _main(sys.argv[1])
