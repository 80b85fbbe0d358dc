"""Signs a bundle by its manifest, which has the hash of every file in it."""

from __future__ import annotations

import os
from pathlib import Path

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import FILE_NAME
from attnc.compiler.staging import write_text
from attnc.tools.trust import minisign

SIGNATURE_FILE = f"{FILE_NAME}.minisig"
PASSWORD_VARIABLE = "ATTNC_SIGN_PASSWORD"


def sign_bundle(bundle: Bundle, key: Path) -> Path:
    """Write the signature beside the manifest; returns its path. Raises UsageError for a key that
    is none or whose password is not in the environment."""
    secret = minisign.read_secret(key, os.environ.get(PASSWORD_VARIABLE, ""))
    manifest = bundle.manifest
    comment = f"attnc bundle {manifest.model} for {manifest.target}, digest {manifest.digest}"
    text = minisign.sign((bundle.path / FILE_NAME).read_bytes(), secret, comment)
    path = bundle.path / SIGNATURE_FILE
    write_text(path, text)
    return path


def check_bundle(bundle: Bundle, key: str) -> str:
    """The trusted comment of the bundle's signature. `key` is a file or the key's text.

    Raises SignatureError if it is not signed by this key or was changed since.
    """
    path = bundle.path / SIGNATURE_FILE
    public = minisign.read_public(key)
    if not path.is_file():
        raise minisign.SignatureError(
            "the bundle is not signed",
            where=str(bundle.path),
            remedy="sign it with attnc sign, or ask its maker for the signature",
        )
    comment = minisign.check((bundle.path / FILE_NAME).read_bytes(), path, public)
    bundle.check_files()
    return comment


def make_keys(prefix: Path) -> tuple[Path, Path]:
    """PREFIX.key and PREFIX.pub; the password is that of the environment, none without it.

    Raises UsageError if one of them exists.
    """
    secret, public = prefix.with_suffix(".key"), prefix.with_suffix(".pub")
    for path in (secret, public):
        if path.exists():
            raise UsageError(f"{path} exists", where=str(path), remedy="name another prefix")
    key = minisign.new_key()
    prefix.parent.mkdir(parents=True, exist_ok=True)
    write_text(secret, key.text(os.environ.get(PASSWORD_VARIABLE, "")), mode=0o600)
    write_text(public, key.public().text())
    return secret, public
