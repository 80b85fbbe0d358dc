"""What the tests of devices share: this folder's helpers, one bundle, one ssh server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from board_bundles import small
from board_sshd import server

from attnc.compiler.bundle import Bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """For this machine."""
    return small(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The client's configuration of a server that runs what it is told."""
    with server(tmp_path_factory.mktemp("sshd")) as written:
        yield written
