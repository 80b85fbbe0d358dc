"""A folder is written whole or not at all, whatever interrupts it."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from attnc.compiler import staging
from attnc.compiler.errors import UsageError
from attnc.compiler.staging import staged_folder, write_text


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_folder_appears_at_the_end(tmp_path: Path) -> None:
    output = tmp_path / "new" / "deeper" / "out"
    with staged_folder(output) as folder:
        (folder / "a").write_text("1")
        assert not output.exists()
        assert folder.parent == output.parent
    assert contents(tmp_path) == {"new/deeper/out/a": "1"}


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_nothing_is_left_after_an_interruption(tmp_path: Path, error: BaseException) -> None:
    def interrupted() -> None:
        with staged_folder(tmp_path / "new" / "out") as folder:
            (folder / "a").write_text("1")
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_one_message(tmp_path: Path, code: int) -> None:
    with pytest.raises(UsageError, match="the disk is full"), staged_folder(tmp_path / "out"):
        raise OSError(code, os.strerror(code))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_while_renaming_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "old").write_text("old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            raise OSError(errno.ENOSPC, "no space")
        return rename(self, target)

    monkeypatch.setattr(staging.Path, "rename", refuse)
    with pytest.raises(UsageError, match="full"), staged_folder(output, force=True) as folder:
        (folder / "a").write_text("1")
    monkeypatch.undo()
    assert contents(tmp_path) == {"out/old": "old"}


def test_real_limit_on_file_size_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from attnc.compiler.staging import staged_folder\n"
        "from attnc.compiler.errors import UsageError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    with staged_folder(Path(sys.argv[1])) as folder:\n"
        "        (folder / 'big').write_bytes(bytes(100_000))\n"
        "except UsageError as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the disk is full" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_other_content_needs_force(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine").write_text("mine")
    with pytest.raises(UsageError, match="--force"), staged_folder(output):
        pytest.fail("must not begin")
    with staged_folder(output, force=True) as folder:
        (folder / "a").write_text("1")
        assert contents(output) == {"mine": "mine"}
    assert contents(tmp_path) == {"out/a": "1"}


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with staged_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
    assert contents(tmp_path) == {"out/a": "1"}


def test_force_never_deletes_more_than_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, checkout = tmp_path / "home", tmp_path / "checkout"
    for folder in (home / "work", checkout / ".git"):
        folder.mkdir(parents=True)
        (folder / "f").write_text("f")
    monkeypatch.chdir(home / "work")
    for place in (Path(), home / "work", home, checkout):
        with pytest.raises(UsageError), staged_folder(place, force=True):
            pytest.fail("must not begin")
    link = tmp_path / "link"
    link.symlink_to(checkout)
    for place in (link, checkout / ".git" / "f"):
        with pytest.raises(UsageError, match="is not a folder"), staged_folder(place, force=True):
            pytest.fail("must not begin")
    assert len(contents(tmp_path)) >= 2


def test_unwritable_parent_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot write"), staged_folder(tmp_path / "file" / "out"):
        pytest.fail("must not begin")


def test_text_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    write_text(path, "one")
    monkeypatch.setattr(staging.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "")))
    with pytest.raises(UsageError, match="full"):
        write_text(path, "two")
    monkeypatch.undo()
    assert contents(tmp_path) == {"report.json": "one"}
    with pytest.raises(UsageError, match="cannot write"):
        write_text(tmp_path / "missing" / "report.json", "x")
