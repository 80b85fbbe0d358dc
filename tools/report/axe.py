"""Where axe-core is, which tells whether a page can be read by everybody; for tests of the page.

It is a package of npm, brought once and kept; the page never loads it.
"""

from __future__ import annotations

import os
from pathlib import Path

from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.web.npm import bring, kept

VERSION = "4.10.2"
VARIABLE = "ATTNC_AXE"
SCRIPT = "axe.min.js"


def axe_script() -> Path:
    """The script: named in the environment, kept, or brought by npm now.

    Raises MissingRuntimeError where it is not to be had.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise MissingRuntimeError(f"{VARIABLE} names {named}, which is no file")
        return Path(named)
    script = kept("axe-core", VERSION) / SCRIPT
    if not script.is_file():
        bring("axe-core", VERSION, SCRIPT, script, f"name {SCRIPT} in {VARIABLE}")
    return script
