"""Import the sources of the hot modules even where compiled ones lie beside them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Final

PACKAGES: Final = ("schemas", "udfs")


class SourcesOnly:
    """A finder of sys.meta_path that knows no extension modules for the packages above."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of the source file, or None for other packages."""
        if name.split(".")[0] not in PACKAGES:
            return None
        for folder in sys.path if path is None else path:
            spec = FileFinder(folder or ".", (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name)
            if spec is not None and spec.loader is not None:
                return spec
        return None


def use_sources() -> None:
    """From now on import sources; RuntimeError when a compiled module is loaded already."""
    loaded = [
        name
        for name, module in sys.modules.items()
        if name.split(".")[0] in PACKAGES and str(getattr(module, "__file__", "")).endswith((".so", ".pyd"))
    ]
    if loaded:
        raise RuntimeError(f"too late to use sources: {', '.join(sorted(loaded))} are loaded compiled")
    if SourcesOnly not in sys.meta_path:
        sys.meta_path.insert(0, SourcesOnly)
