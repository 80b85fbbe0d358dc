"""A Chromium for the tests of the web target: the one that is here, or the distribution's.

`python -m attnc.tools.browser` says where it is, after installing it if need be and allowed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.web.browser import VARIABLE, chromium

INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "chromium")


def ready_browser() -> Path:
    """The browser, installed now where it is missing. Raises MissingRuntimeError if it cannot be.

    Only root may install packages of the system.
    """
    try:
        return chromium()
    except MissingRuntimeError:
        if not shutil.which("apt-get") or os.geteuid() != 0:
            raise
    for command in (("apt-get", "update"), INSTALL):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingRuntimeError(
                f"Chromium could not be installed: {done.stderr.strip()[-300:]}",
                remedy=f"install it by hand, or name a browser in {VARIABLE}",
            )
    return chromium()


if __name__ == "__main__":
    print(ready_browser())
