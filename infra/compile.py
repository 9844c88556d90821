"""Compile the hot modules with mypyc, in place.

    python -m infra.compile            compile when a source changed; nothing to do takes a fraction of a second
    python -m infra.compile --check    exit 1 when the compiled modules are missing or stale
    python -m infra.compile --clean    remove every compiled module: the same sources then run interpreted

A compiled module is a shared object beside its source, which Python imports in preference to the source; git ignores
it. Without a C compiler or mypyc nothing is compiled, which is no error: results are the same, only slower.

A shared object is only as good as the source it was made from. So all of them are removed before a build starts, and
appear again when all are done: after an edit and a failed build the sources run, never yesterday's machine code.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BUILD: Final = ROOT / "build" / "mypyc"
STAMP: Final = BUILD / "stamp.json"


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that are compiled into one shared object, within which calls are plain C calls."""

    library: str
    patterns: tuple[str, ...]
    excluded: tuple[str, ...] = ()

    def sources(self) -> list[str]:
        """Return the sources, relative to the root, sorted."""
        found = {path.relative_to(ROOT).as_posix() for pattern in self.patterns for path in ROOT.glob(pattern)}
        return sorted(name for name in found if not name.endswith("/__init__.py") and name not in self.excluded)


# The one list of hot modules. A group may call the groups before it.
GROUPS: Final = (
    Group("schemas.codec", ("schemas/wire.py", "schemas/messages/*.py")),
    Group(
        "udfs.engine",
        ("udfs/domain/*.py",),
        # Their time goes into SHA-256, which is C already, and they are the domain's only dataclasses.
        excluded=("udfs/domain/audit_chain.py", "udfs/domain/audit_shard.py", "udfs/domain/audit_verify.py"),
    ),
)
OPTIMISATION: Final = "3"
HIDDEN: Final = ["-fvisibility=hidden", "-fno-semantic-interposition"]
"""Nothing but Python's own entry points is seen from outside: the compiler may inline, and calls need no table."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.compile", description=(__doc__ or "").split("\n")[0])
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="exit 1 when compiled modules are missing or stale")
    choice.add_argument("--clean", action="store_true", help="remove every compiled module")
    parser.add_argument(
        "--only", choices=[group.library for group in GROUPS], help="compile this group and those before it"
    )
    options = parser.parse_args(arguments)
    if options.clean:
        with _lock():
            print(f"compile: removed {remove_compiled()} files; the sources run interpreted")
        return 0
    groups = _selected(options.only)
    if is_current(groups):
        print("compile: up to date")
        return 0
    if options.check:
        print("compile: the compiled modules are missing or stale; run `python -m infra.compile`", file=sys.stderr)
        return 1
    with _lock():
        if is_current(groups):
            print("compile: up to date (another process just built it)")
            return 0
        return build(groups)


def is_current(groups: tuple[Group, ...] = GROUPS) -> bool:
    """Tell whether the compiled modules are those of the present sources."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return stamp["inputs"] == _inputs(groups) and all((ROOT / name).exists() for name in stamp["outputs"])


def compiled_files() -> list[Path]:
    """Return the compiled modules and libraries that lie beside their sources."""
    folders = sorted({path.split("*")[0].rsplit("/", 1)[0] for group in GROUPS for path in group.patterns})
    folders += [group.library.split(".")[0] for group in GROUPS]
    return sorted({path for folder in folders for path in (ROOT / folder).glob("*.so")})


def remove_compiled() -> int:
    """Remove every compiled module; returns how many files went."""
    STAMP.unlink(missing_ok=True)
    files = compiled_files()
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)


def build(groups: tuple[Group, ...] = GROUPS) -> int:
    """Compile the groups; returns the exit code: 0 when done or impossible here, 1 when it failed."""
    remove_compiled()
    missing = _missing_tool()
    if missing:
        print(f"compile: {missing}. The same sources run interpreted: same results, several times slower.")
        return 0
    BUILD.mkdir(parents=True, exist_ok=True)
    inputs = _inputs(groups)
    started = time.monotonic()
    sources = [name for group in groups for name in group.sources()]
    print(f"compile: {len(sources)} modules with mypyc, six minutes on a small machine ...", flush=True)
    try:
        outputs = _compile(groups)
    except SystemExit as error:
        print(f"compile: failed ({error.code}); the sources run interpreted until it is mended", file=sys.stderr)
        return 1
    for built, target in outputs:
        partial = target.with_suffix(".partial")
        shutil.copyfile(built, partial)
        os.replace(partial, target)
    stamp = {"inputs": inputs, "outputs": [target.relative_to(ROOT).as_posix() for _, target in outputs]}
    STAMP.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    print(f"compile: done in {time.monotonic() - started:.0f} s")
    return 0


def _selected(last: str | None) -> tuple[Group, ...]:
    names = [group.library for group in GROUPS]
    return GROUPS if last is None else GROUPS[: names.index(last) + 1]


def _inputs(groups: tuple[Group, ...]) -> dict[str, str]:
    """Return everything that the result depends on."""
    inputs = {
        name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for group in groups for name in group.sources()
    }
    inputs["python"] = sys.version
    inputs["optimisation"] = " ".join([OPTIMISATION, *HIDDEN])
    inputs["mypy"] = _version("mypy")
    inputs["librt"] = _version("librt")
    return inputs


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "none"


def _missing_tool() -> str:
    """Return what is missing for compiling, or nothing."""
    compiler = str(sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"no C compiler ({compiler}) is installed"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        return "Python.h is not installed (the package of Python's C headers)"
    if _version("mypy") == "none":
        return "mypyc is not installed (pip install 'tradestream[dev]')"
    return ""


def _compile(groups: tuple[Group, ...]) -> list[tuple[Path, Path]]:
    """Run mypyc and the C compiler; returns (built file, its place). SystemExit when either fails."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    with contextlib.chdir(ROOT):
        extensions = mypycify(
            [name for group in groups for name in group.sources()],
            separate=[(group.sources(), group.library) for group in groups],
            opt_level=OPTIMISATION,
            debug_level="0",
            target_dir=str(BUILD / "c"),
        )
        for extension in extensions:
            extension.extra_compile_args += HIDDEN
        # The two large libraries first: compiled side by side, they decide how long it takes.
        extensions.sort(key=lambda extension: extension.name not in {f"{group.library}__mypyc" for group in groups})
        distribution = Distribution({"name": "tradestream-hot", "ext_modules": extensions})
        command = build_ext(distribution)
        command.build_lib = str(BUILD / "lib")
        command.build_temp = str(BUILD / "temp")
        command.parallel = os.cpu_count() or 1
        # Objects of other options are no younger than the C sources, which stay the same.
        command.force = True
        command.ensure_finalized()
        try:
            command.run()
        except Exception as error:
            raise SystemExit(f"{type(error).__name__}: {error}") from error
        names = [command.get_ext_filename(extension.name) for extension in extensions]
    return [(BUILD / "lib" / name, ROOT / name) for name in names]


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Let one build run at a time in this checkout."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
