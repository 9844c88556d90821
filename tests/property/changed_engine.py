"""Engines from changed sources: modules are imported anew and uncompiled, with one text of one of them replaced."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parents[2]


class Changed(SourceFileLoader):
    """Loads a module's source with one text replaced."""

    replace: tuple[str, str] | None = None

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_text(encoding="utf-8")
        if self.replace is not None:
            assert source.count(self.replace[0]) == 1, f"{self.replace[0]!r} is not there exactly once"
            source = source.replace(*self.replace)
        return compile(source, self.path, "exec")


class Finder:
    """Finds sources of udfs, one of them changed."""

    def __init__(self, module: str, old: str, new: str) -> None:
        self.module, self.replace = f"udfs.domain.{module}", (old, new)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of udfs."""
        if name.split(".")[0] != "udfs":
            return None
        file = ROOT / (name.replace(".", "/") + ".py")
        if not file.exists():
            package = ROOT / name.replace(".", "/")
            return spec_from_file_location(name, package / "__init__.py", submodule_search_locations=[str(package)])
        loader = Changed(name, str(file))
        if name == self.module:
            loader.replace = self.replace
        return spec_from_file_location(name, file, loader=loader)


@contextmanager
def changed_engine(module: str, old: str, new: str, reloaded: Sequence[str]) -> Iterator[None]:
    """Within it the modules whose names, or first parts of them, are `reloaded` are imported anew, with the change."""

    def loaded() -> list[str]:
        return [name for name in sys.modules if name in reloaded or name.split(".")[0] in reloaded]

    kept = {name: sys.modules.pop(name) for name in loaded()}
    finder = Finder(module, old, new)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(kept)
