"""Signatures and bills of materials: minisign's own program agrees, a changed byte is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from own_models import export_own

from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import FILE_NAME, json_schema
from attnc.tools.trust import minisign
from attnc.tools.trust.minisign import SignatureError
from attnc.tools.trust.signing import PASSWORD_VARIABLE, SIGNATURE_FILE

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_own("tiny_net:build", tmp_path_factory.mktemp("trust") / "b", target="cpu")


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


@pytest.fixture
def keys(cli: Any, tmp_path: Path) -> tuple[Path, Path]:
    assert cli("sign", "--new-key", tmp_path / "me").code == 0
    return tmp_path / "me.key", tmp_path / "me.pub"


def test_sign_and_check(
    cli: Any, copy: Path, keys: tuple[Path, Path], importable_data: None
) -> None:
    secret, public = keys
    assert secret.stat().st_mode & 0o077 == 0
    assert cli("sign", copy, "--key", secret).code == 0
    done = cli("verify", copy, "--signature", public)
    assert done.code == 0, done.err
    assert "tiny_net:build for cpu" in done.err
    text = public.read_text().splitlines()[1]
    assert minisign.read_public(text) == minisign.read_public(public)


def test_an_unsigned_bundle_another_key_and_a_changed_byte(
    cli: Any, copy: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    secret, public = keys
    done = cli("verify", copy, "--signature", public)
    assert (done.code, "not signed" in done.err) == (1, True)
    assert cli("sign", copy, "--key", secret).code == 0
    assert cli("sign", "--new-key", tmp_path / "other").code == 0
    done = cli("verify", copy, "--signature", tmp_path / "other.pub")
    assert (done.code, "signed by the key" in done.err) == (1, True)
    path = copy / FILE_NAME
    path.write_text(path.read_text() + "\n")
    done = cli("verify", copy, "--signature", public)
    assert (done.code, "not that of this file" in done.err) == (1, True)


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_changed_signature(line: int, copy: Path, keys: tuple[Path, Path], cli: Any) -> None:
    cli("sign", copy, "--key", keys[0])
    path = copy / SIGNATURE_FILE
    lines = path.read_text().splitlines()
    place = len(lines[line]) - 8
    other = "A" if lines[line][place] != "A" else "B"
    lines[line] = lines[line][:place] + other + lines[line][place + 1 :]
    path.write_text("\n".join(lines) + "\n")
    data = (copy / FILE_NAME).read_bytes()
    with pytest.raises(SignatureError):
        minisign.check(data, path, minisign.read_public(keys[1]))


@pytest.mark.parametrize(
    "text", ["", "untrusted comment: x\n", "untrusted comment: x\nAAAA\n", "x"]
)
def test_what_is_no_key(text: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(UsageError):
        minisign.read_secret(path)
    with pytest.raises(UsageError):
        minisign.read_public(path)


def test_a_key_is_never_written_over(cli: Any, keys: tuple[Path, Path]) -> None:
    before = keys[0].read_bytes()
    done = cli("sign", "--new-key", keys[0].with_suffix(""))
    assert (done.code, "exists" in done.err) == (2, True)
    assert keys[0].read_bytes() == before
    assert cli("sign").code == 2


def test_scrypt_numbers_are_libsodiums() -> None:
    assert minisign._scrypt_numbers(1 << 25, 1 << 30) == (1 << 20, 1)
    assert minisign._scrypt_numbers(524288, 16777216) == (1 << 14, 1)


@pytest.mark.slow
def test_a_password(tmp_path: Path, copy: Path, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte of memory each time, as minisign asks for."""
    monkeypatch.setenv(PASSWORD_VARIABLE, "correct horse")
    assert cli("sign", "--new-key", tmp_path / "locked").code == 0
    assert cli("sign", copy, "--key", tmp_path / "locked.key").code == 0
    for word, said in (("", "encrypted"), ("wrong", "password is wrong")):
        monkeypatch.setenv(PASSWORD_VARIABLE, word)
        done = cli("sign", copy, "--key", tmp_path / "locked.key")
        assert done.code == 2
        assert said in done.err


def test_minisign_itself_agrees(copy: Path, keys: tuple[Path, Path], cli: Any) -> None:
    program = shutil.which("minisign")
    if program is None:
        pytest.skip("minisign is not installed")
    cli("sign", copy, "--key", keys[0])
    command = [program, "-V", "-m", str(copy / FILE_NAME), "-p", str(keys[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "attnc bundle" in done.stdout
    signing = [program, "-S", "-m", str(copy / FILE_NAME), "-s", str(keys[0]), "-t", "by hand"]
    done = subprocess.run(signing, capture_output=True, text=True, check=False, input="\n")
    assert done.returncode == 0, done.stderr
    data = (copy / FILE_NAME).read_bytes()
    said = minisign.check(data, copy / SIGNATURE_FILE, minisign.read_public(keys[1]))
    assert said == "by hand"


def test_a_bill_of_materials(cli: Any, bundle: Path, tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    for name in ("one", "two"):
        assert cli("sbom", bundle, "-o", tmp_path / name).code == 0
    text = (tmp_path / "one").read_text()
    assert text == (tmp_path / "two").read_text()
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    manifest = json.loads((bundle / FILE_NAME).read_text())
    held = {c["name"]: c["hashes"][0]["content"] for c in document["components"] if "hashes" in c}
    assert held == {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    assert document["metadata"]["component"]["type"] == "machine-learning-model"
    try:
        errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except Exception as error:  # its schemas' checker is an extra of its own
        pytest.skip(f"no validator: {error}")
    assert errors is None


def test_the_published_schema_is_that_of_the_code() -> None:
    """docs/manifest.schema.json: `python -m attnc.compiler.manifest` prints it."""
    published = json.loads((DOCS / "manifest.schema.json").read_text())
    assert published == json_schema()
