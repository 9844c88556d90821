"""`tradestream submit | jobs | savepoint | stop | resume`: the life of a job on the Flink cluster."""

from __future__ import annotations

import dataclasses
import shlex
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from jobs.cli_common import (
    CliError,
    confirm,
    console,
    duration,
    json_option,
    load_config,
    print_json,
    print_table,
    size,
    status,
)
from jobs.config import Config
from jobs.flink_rest import TERMINAL, Checkpoint, FlinkError, FlinkRest, Job
from jobs.job_state import find_state, latest_state, savepoint_directory
from jobs.sealed_transactions import FORGOTTEN
from jobs.submit import (
    Plan,
    check_slots,
    find_script,
    freed_slots,
    job_scripts,
    live_jobs,
    make_plan,
    refuse_second_instance,
    run_plan,
    slots_needed,
)

_COLOURS = {"RUNNING": "green", "FAILED": "red", "FAILING": "red", "RESTARTING": "yellow"}
_REMOTE_NOTE = (
    "remote cluster: our packages travel with the job; its image must hold Python 3.11 with apache-flink, fastavro and "
    "mypy-extensions (or give --requirements), and the Kafka SQL connector in Flink's lib folder"
)


class _JobName(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer releases only
    """A job of this checkout, with completion."""

    name = "job"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(key) for key in job_scripts() if key.startswith(incomplete)]


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
    """What is to be submitted. The fields after `fresh` are the options that `submit` and `resume` share."""

    job: str
    from_savepoint: str | None
    replace: bool
    fresh: bool
    allow_non_restored_state: bool
    forget_transactions: bool
    requirements: Path | None
    timeout_s: float
    dry_run: bool
    as_json: bool


def _submission_options(command: click.decorators.FC) -> click.decorators.FC:
    options = (
        click.option("-p", "--parallelism", type=click.IntRange(1), help="Parallel instances [flink.parallelism]."),
        click.option("--allow-non-restored-state", is_flag=True, help="Ignore state that the job no longer has."),
        click.option(
            "--forget-transactions",
            is_flag=True,
            help="Do not commit what the state has sealed: Kafka has forgotten those transactions.",
        ),
        click.option(
            "--requirements", type=click.Path(path_type=Path, exists=True), help="pip file to install on the cluster."
        ),
        click.option("--timeout", "timeout_s", default=120.0, show_default=True, help="Seconds until it must run."),
        click.option("--dry-run", is_flag=True, help="Print what would be run, and change nothing."),
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("job", type=_JobName())
@click.option("--from-savepoint", metavar="PATH", help="Savepoint or checkpoint to start from, or `latest`.")
@click.option("--replace", is_flag=True, help="Stop the running instance with a savepoint, and start from it.")
@click.option("--fresh", is_flag=True, help="Start from nothing although the job left state behind.")
@_submission_options
@click.pass_context
def submit(
    ctx: click.Context,
    job: str,
    from_savepoint: str | None,
    replace: bool,
    fresh: bool,
    parallelism: int | None,
    **options: Any,
) -> None:
    """Start a job on the Flink cluster.

    JOB is a module of jobs/ that builds a graph: market_data, trading, archive ... The job starts from the beginning
    of its topics unless --from-savepoint names a state. The command waits until every task runs and prints the id; if
    the job cannot start, it prints the root cause. A job that runs already is refused, because two instances would
    abort each other's transactions; --replace upgrades it in place. So is a start from nothing when an earlier run left a
    savepoint or checkpoint, because it would write its events a second time; --fresh means it (after a change of topics).

    In thread mode a TaskManager keeps the Python code that it loaded first. After a change of code restart the TaskManagers
    between `stop` and `resume`.

    \b
    Examples:
      tradestream submit trading --parallelism 2
      tradestream submit trading --replace
      tradestream submit archive --from-savepoint latest
    """
    if replace and from_savepoint:
        raise click.UsageError("--replace makes its own savepoint; leave --from-savepoint out")
    if fresh and (replace or from_savepoint):
        raise click.UsageError("--fresh starts from nothing; leave --replace and --from-savepoint out")
    if options["forget_transactions"] and not from_savepoint:
        raise click.UsageError("--forget-transactions goes with an older state: --from-savepoint PATH")
    config = load_config(ctx, flink__parallelism=parallelism)
    _submit(config, _Request(job, from_savepoint, replace, fresh, **options))


@click.command()
@click.argument("job", type=_JobName())
@_submission_options
@click.pass_context
def resume(ctx: click.Context, job: str, parallelism: int | None, **options: Any) -> None:
    """Start a job from its newest savepoint.

    The same as `submit JOB --from-savepoint latest`. When the job ran on after its last savepoint and then ended by a
    failure, its newest retained checkpoint is newer and is taken, so that nothing is written twice.

    Kafka forgets transactions after a week (transactional.id.expiration.ms), and a job that was stopped for longer cannot commit
    what its state has sealed, although that was done when it stopped: --forget-transactions leaves it out. It is refused when
    Kafka has one of these transactions still open.

    \b
    Example:
      tradestream stop trading && tradestream resume trading --parallelism 4
    """
    config = load_config(ctx, flink__parallelism=parallelism)
    _submit(config, _Request(job, "latest", replace=False, fresh=False, **options))


def _submit(config: Config, request: _Request) -> None:
    script = find_script(request.job)
    rest = FlinkRest(config.flink.rest_url)
    start = request.from_savepoint
    if start == "latest":
        state = latest_state(config, rest, script.name)
        age = duration(time.time() * 1_000 - state.taken_ms)
        status(f"resuming from the {state.kind} of {age} ago: {state.path}")
        start = state.path
    elif start is None and not (request.replace or request.fresh or request.dry_run):
        left = find_state(config, rest, script.name)
        if left is not None and not live_jobs(rest, script.name):
            age = duration(time.time() * 1_000 - left.taken_ms)
            raise CliError(
                f"{script.name} left a {left.kind} {age} ago ({left.path}): `tradestream resume {script.name}` goes on from it. "
                "Starting from nothing would read everything again and write its events a second time; "
                "`tradestream submit --fresh` does that"
            )
    with tempfile.TemporaryDirectory(prefix="tradestream-submit-") as folder:

        def plan(savepoint: str | None) -> Plan:
            return make_plan(
                config,
                script,
                Path(folder),
                from_savepoint=savepoint,
                allow_non_restored_state=request.allow_non_restored_state,
                forget_transactions=request.forget_transactions and not request.dry_run,
                requirements=request.requirements,
            )

        if request.dry_run:
            _print_plan(plan(start or ("SAVEPOINT" if request.replace else None)))
            return
        running = live_jobs(rest, script.name) if request.replace else []
        if not request.replace:
            refuse_second_instance(rest, script)
        check_slots(config, rest, slots_needed(config, script.name), freed=freed_slots(rest, running))
        # Everything that can be wrong with the plan is found out before the running job is stopped.
        ready = plan(start)
        for job in running:
            status(f"stopping {job.name} ({job.id}) with a savepoint")
            start = rest.stop(job.id, savepoint_directory(config, job.name))
            status(f"savepoint: {start}")
            ready = plan(start)
        if ready.remote:
            status(_REMOTE_NOTE)
        status(f"submitting {script.key} with parallelism {config.flink.parallelism} to {config.flink.rest_url}")
        try:
            job_id = run_plan(config, ready)
        except RuntimeError as error:
            hint = f"\nThe job is stopped; its state is safe in {start}" if running else ""
            raise CliError(f"{error}{hint}") from error
    try:
        rest.wait_until_running(job_id, request.timeout_s, status)
    except FlinkError as error:
        hint = (
            f"\n`tradestream stop {job_id[:8]} --no-savepoint` gives it up"
            if rest.job(job_id)[0] not in TERMINAL
            else ""
        )
        if FORGOTTEN in str(error):
            hint += (
                "\nKafka has forgotten the transactions that this state has sealed (transactional.id.expiration.ms): stop it "
                f"like that, then `tradestream resume {script.name} --forget-transactions`"
            )
        raise CliError(f"{error}{hint}") from error
    except KeyboardInterrupt:
        status(f"{script.name} goes on starting as {job_id}; `tradestream stop {script.name}` ends it")
        raise
    url = f"{config.flink.rest_url}/#/job/running/{job_id}/overview"
    if request.as_json:
        print_json({"job": script.name, "id": job_id, "url": url, "fromSavepoint": start})
        return
    click.echo(f"{script.name} runs as {job_id}\n{url}")


def _print_plan(plan: Plan) -> None:
    for key, value in sorted(plan.shown_environment.items()):
        click.echo(f"{key}={shlex.quote(value)} \\")
    click.echo(shlex.join(plan.command))


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also jobs that are over.")
@json_option
@click.pass_context
def jobs(ctx: click.Context, everything: bool, as_json: bool) -> None:
    """List the jobs of the cluster with their health.

    For each job: state, time since its start, restarts since, the age, duration and state size of the last checkpoint,
    and the records a second that its tasks pass on. A checkpoint that grows old, or restarts, are the first signs of trouble.

    \b
    Example:
      tradestream jobs --all
    """
    rest = FlinkRest(load_config(ctx).flink.rest_url)
    rows = [_describe(rest, job) for job in rest.jobs() if everything or job.live]
    if as_json:
        print_json(rows)
        return
    if not rows:
        status(f"no jobs{'' if everything else ' run'} on {rest.url}; `tradestream submit JOB` starts one")
        return
    now = time.time() * 1_000
    print_table(
        {
            "job": "left",
            "id": "left",
            "state": "left",
            "tasks": "right",
            "for": "right",
            "restarts": "right",
            "checkpoint": "right",
            "took": "right",
            "state size": "right",
            "failed": "right",
            "records/s": "right",
        },
        [_cells(row, now) for row in rows],
    )


def _describe(rest: FlinkRest, job: Job) -> dict[str, object]:
    stats = rest.checkpoints(job.id)
    restarts = rest.restarts(job.id) if job.live else None
    rate = None
    if job.state == "RUNNING":
        # The exchange between tasks is what is cheap to ask for; sources and sinks inside a task do not count in it.
        rates = [rest.sum_metric(job.id, v.id, "numRecordsOutPerSecond") for v in rest.job(job.id)[1]]
        known = [value for value in rates if value is not None]
        rate = max(known) if known else None
    return {
        "job": job.name,
        "id": job.id,
        "state": job.state,
        "tasksRunning": job.tasks_running,
        "tasksTotal": job.tasks_total,
        "durationMs": job.duration_ms,
        "restarts": restarts,
        "checkpointsCompleted": stats.completed,
        "checkpointsFailed": stats.failed,
        "lastCheckpoint": dataclasses.asdict(stats.last) if stats.last else None,
        "lastSavepoint": stats.last_savepoint.path if stats.last_savepoint else None,
        "recordsPerSecond": rate,
    }


def _cells(row: dict[str, object], now_ms: float) -> list[str]:
    last = row["lastCheckpoint"]
    checkpoint = Checkpoint(**last) if isinstance(last, dict) else None
    state = str(row["state"])
    rate, restarts, length = row["recordsPerSecond"], row["restarts"], row["durationMs"]
    return [
        str(row["job"]),
        str(row["id"]),
        f"[{_COLOURS.get(state, 'default')}]{state}[/]",
        f"{row['tasksRunning']}/{row['tasksTotal']}",
        duration(float(length)) if isinstance(length, int) else "",
        "" if restarts is None else str(restarts),
        f"{duration(now_ms - checkpoint.completed_ms)} ago" if checkpoint else "none",
        duration(checkpoint.duration_ms) if checkpoint else "",
        size(checkpoint.state_bytes) if checkpoint else "",
        str(row["checkpointsFailed"]),
        f"{rate:,.0f}" if isinstance(rate, float) else "",
    ]


@click.command()
@click.argument("job")
@click.option("--to", "directory", metavar="URI", help="Folder for it [flink.savepoint_dir/<job>].")
@click.option("--timeout", "timeout_s", default=600.0, show_default=True, help="Seconds to wait for it.")
@json_option
@click.pass_context
def savepoint(ctx: click.Context, job: str, directory: str | None, timeout_s: float, as_json: bool) -> None:
    """Take a savepoint of a running job.

    The job goes on. JOB is its name, or the beginning of its id. A savepoint is yours: Flink never deletes it. To upgrade a
    job use `stop` or `submit --replace`; resuming an old savepoint while newer results are in Kafka writes them again.

    \b
    Example:
      tradestream savepoint trading
    """
    config = load_config(ctx)
    rest = FlinkRest(config.flink.rest_url)
    found = rest.find(job)
    path = rest.savepoint(found.id, directory or savepoint_directory(config, found.name), timeout_s)
    if as_json:
        print_json({"job": found.name, "id": found.id, "savepoint": path})
        return
    click.echo(path)


@click.command()
@click.argument("job")
@click.option("--no-savepoint", is_flag=True, help="Cancel at once; what came after the last checkpoint is redone.")
@click.option("--to", "directory", metavar="URI", help="Folder for the savepoint [flink.savepoint_dir/<job>].")
@click.option("--yes", is_flag=True, help="Do not ask before --no-savepoint.")
@click.option("--timeout", "timeout_s", default=600.0, show_default=True, help="Seconds to wait for the end.")
@json_option
@click.pass_context
def stop(
    ctx: click.Context,
    job: str,
    no_savepoint: bool,
    directory: str | None,
    yes: bool,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Stop a job, with a savepoint to resume from.

    JOB is its name, or the beginning of its id. All transactions are committed, so that read_committed consumers have
    everything, and `tradestream resume JOB` goes on exactly there. With --no-savepoint the job is cancelled; its last
    retained checkpoint remains, and `resume` finds it.

    \b
    Examples:
      tradestream stop trading
      tradestream stop market_data --no-savepoint --yes
    """
    config = load_config(ctx)
    rest = FlinkRest(config.flink.rest_url)
    found = rest.find(job)
    path = None
    if no_savepoint:
        confirm(f"Cancel {found.name} ({found.id}) without a savepoint?", yes)
        rest.cancel(found.id)
        state = rest.wait_for(found.id, lambda state: state in TERMINAL, timeout_s)
        last = rest.checkpoints(found.id).last
        note = f"its last checkpoint is {last.path}" if last and last.path else "it has no checkpoint"
        message = f"{found.name} ({found.id}) is {state}; {note}"
    else:
        try:
            path = rest.stop(found.id, directory or savepoint_directory(config, found.name), timeout_s)
        except FlinkError as error:
            raise CliError(
                f"{error}\n{found.name} may still run (`tradestream jobs`); --no-savepoint ends it without a savepoint"
            ) from error
        message = f"{found.name} ({found.id}) stopped; savepoint {path}"
    if as_json:
        print_json({"job": found.name, "id": found.id, "savepoint": path})
        return
    console().print(message, soft_wrap=True, markup=False)
    if path or "no checkpoint" not in message:
        status(f"resume it with: tradestream resume {found.name}")
