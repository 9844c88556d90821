"""infra/compile.py: what is compiled, when, and that stale machine code cannot be imported."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from uncompiled import SourcesOnly

from infra import compile as hot

SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout, and a mypyc that writes empty files."""
    for name in (
        "schemas/wire.py",
        "schemas/messages/__init__.py",
        "schemas/messages/orders.py",
        "udfs/domain/book.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n", encoding="utf-8")
    monkeypatch.setattr(hot, "ROOT", tmp_path)
    monkeypatch.setattr(hot, "BUILD", tmp_path / "build" / "mypyc")
    monkeypatch.setattr(hot, "STAMP", tmp_path / "build" / "mypyc" / "stamp.json")
    monkeypatch.setattr(hot, "_missing_tool", lambda: "")
    monkeypatch.setattr(hot, "_compile", fake_compile)
    return tmp_path


def fake_compile(groups: tuple[hot.Group, ...]) -> list[tuple[Path, Path]]:
    outputs = []
    for group in groups:
        for name in [*group.sources(), group.library.replace(".", "/") + "__mypyc.py"]:
            built = hot.BUILD / "lib" / name.replace(".py", SUFFIX)
            built.parent.mkdir(parents=True, exist_ok=True)
            built.write_text("machine code", encoding="utf-8")
            outputs.append((built, hot.ROOT / name.replace(".py", SUFFIX)))
    return outputs


def failing_compile(groups: tuple[hot.Group, ...]) -> list[tuple[Path, Path]]:
    raise SystemExit(1)


def names(checkout: Path) -> list[str]:
    return [path.relative_to(checkout).as_posix().replace(SUFFIX, "") for path in hot.compiled_files()]


def test_hot_modules_of_this_checkout_are_the_codec_and_the_domain() -> None:
    codec, engine = (group.sources() for group in hot.GROUPS)
    assert "schemas/wire.py" in codec
    assert "schemas/messages/order_events.py" in codec
    assert not [name for name in codec + engine if name.endswith("__init__.py")]
    assert engine
    assert all(name.startswith("udfs/domain/") for name in engine)


def test_build_puts_compiled_modules_beside_their_sources(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hot.main([]) == 0
    assert names(checkout) == [
        "schemas/codec__mypyc",
        "schemas/messages/orders",
        "schemas/wire",
        "udfs/domain/book",
        "udfs/engine__mypyc",
    ]
    assert hot.main(["--check"]) == 0
    assert "up to date" in capsys.readouterr().out
    assert hot.main(["--clean"]) == 0
    assert names(checkout) == []
    assert hot.main(["--check"]) == 1


@pytest.mark.parametrize("change", ["edit", "new module", "lost output", "other compiler"])
def test_change_makes_the_build_stale(checkout: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hot.main([])
    if change == "edit":
        (checkout / "udfs/domain/book.py").write_text("x = 2\n", encoding="utf-8")
    elif change == "new module":
        (checkout / "udfs/domain/risk.py").write_text("x = 1\n", encoding="utf-8")
    elif change == "lost output":
        hot.compiled_files()[0].unlink()
    else:
        monkeypatch.setattr(hot, "_version", lambda _name: "99")
    assert hot.main(["--check"]) == 1
    assert hot.main([]) == 0
    assert hot.main(["--check"]) == 0


def test_failed_build_leaves_no_compiled_module_behind(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hot.main([])
    (checkout / "schemas/wire.py").write_text("broken", encoding="utf-8")
    monkeypatch.setattr(hot, "_compile", failing_compile)
    assert hot.main([]) == 1
    assert names(checkout) == []
    assert "failed" in capsys.readouterr().err
    assert hot.main(["--check"]) == 1


def test_without_a_compiler_the_sources_run_and_it_is_no_error(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hot.main([])
    (checkout / "schemas/wire.py").write_text("x = 3\n", encoding="utf-8")
    monkeypatch.setattr(hot, "_missing_tool", lambda: "no C compiler (cc) is installed")
    assert hot.main([]) == 0
    assert names(checkout) == []
    assert "no C compiler (cc) is installed. The same sources run interpreted" in capsys.readouterr().out


def test_one_group_can_be_compiled_alone(checkout: Path) -> None:
    assert hot.main(["--only", "schemas.codec"]) == 0
    assert names(checkout) == ["schemas/codec__mypyc", "schemas/messages/orders", "schemas/wire"]
    assert not hot.is_current()


def test_sources_only_finder_ignores_a_compiled_module(tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    folder.mkdir()
    (folder / "wire.py").write_text("x = 1\n", encoding="utf-8")
    (folder / f"wire{SUFFIX}").write_text("machine code", encoding="utf-8")
    spec = SourcesOnly.find_spec("schemas.wire", [str(folder)])
    assert spec is not None
    assert spec.origin == str(folder / "wire.py")
    assert SourcesOnly.find_spec("json", None) is None
