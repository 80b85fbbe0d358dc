"""A stand-in for `adb`: one folder is the device, and every word of a command is checked.

`FAKE_ADB` names a JSON file: `devices` (serial to state), `root` (the folder that stands for
/data/local/tmp), `log`, `abi`, and what is to go wrong: `full`, `hot`, `lost_at`, `crash`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

BASE = "/data/local/tmp"


def main() -> int:
    state = json.loads(Path(os.environ["FAKE_ADB"]).read_text())
    words = sys.argv[1:]
    with Path(state["log"]).open("a") as log:
        log.write(json.dumps(words) + "\n")
    if words == ["devices"]:
        lines = [f"{serial}\t{is_}" for serial, is_ in state["devices"].items()]
        print("\n".join(["List of devices attached", *lines, ""]))
        return 0
    if len(words) < 3 or words[0] != "-s" or state["devices"].get(words[1]) != "device":
        return wrong(f"error: device '{words[1:2]}' not found")
    serial, verb, rest = words[1], words[2], words[3:]
    if state.get("lost_at") and re.search(state["lost_at"], " ".join([verb, *rest])):
        return wrong(f"adb: error: device '{serial}' not found")
    return {"shell": shell, "push": push, "pull": pull}[verb](state, *rest)


def wrong(text: str) -> int:
    print(text, file=sys.stderr)
    return 1


def shell(state: dict, line: str) -> int:
    if line == "getprop ro.product.cpu.abi":
        print(state["abi"])
        return 0
    if line.startswith("df "):
        print(f"Filesystem 1K-blocks Used Available Use% Mounted\n/dev/x 9 9 {state['free']} 1% /")
        return 0
    if "/sys/class/thermal" in line and "attnc-runner" not in line:
        print(state["thermal"])
        return 0
    if state.get("crash") and line.startswith("cd "):
        return state["crash"]
    ran = subprocess.run(["sh", "-c", line.replace(BASE, state["root"])], check=False)
    return ran.returncode if ran.returncode >= 0 else 128 - ran.returncode


def push(state: dict, local: str, remote: str) -> int:
    assert remote.startswith(f"{BASE}/attnc-"), remote
    if state.get("full"):
        return wrong("adb: error: failed to copy: remote couldn't create file: No space left")
    shutil.copyfile(local, remote.replace(BASE, state["root"]))
    return 0


def pull(state: dict, remote: str, local: str) -> int:
    assert remote.startswith(f"{BASE}/attnc-"), remote
    shutil.copyfile(remote.replace(BASE, state["root"]), local)
    return 0


if __name__ == "__main__":
    sys.exit(main())
