"""Signatures in minisign's format: Ed25519 over the BLAKE2b-512 of a file, keys and signatures as
texts. The format is described on minisign's page; its own program reads what is written here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attnc.compiler.errors import AttncError, MissingRuntimeError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM, PREHASHED, SCRYPT, PLAIN, BLAKE2B = b"Ed", b"ED", b"Sc", b"\0\0", b"B2"
UNTRUSTED, TRUSTED = "untrusted comment: ", "trusted comment: "
#: libsodium's limits for secrets, as minisign asks scrypt for them: N = 2^20, r = 8, p = 1.
OPERATIONS, MEMORY = 1 << 25, 1 << 30
LONGEST = 1 << 16  # of a key or signature file


class SignatureError(AttncError):
    """A signature is not that of this file by this key (exit code 1)."""


@dataclass(frozen=True)
class PublicKey:
    """What checks signatures; `number` tells keys apart."""

    number: bytes
    key: bytes

    def text(self) -> str:
        """The file."""
        body = _encode(ALGORITHM + self.number + self.key)
        return f"{UNTRUSTED}minisign public key {shown(self.number)}\n{body}\n"


@dataclass(frozen=True)
class SecretKey:
    """What signs."""

    number: bytes
    seed: bytes

    def public(self) -> PublicKey:
        """The key for everybody."""
        return PublicKey(self.number, _public_bytes(_private(self.seed)))

    def text(self, password: str = "") -> str:
        """The file, encrypted with the password if there is one."""
        public = self.public().key
        held = self.number + self.seed + public
        body = held + hashlib.blake2b(ALGORITHM + held, digest_size=32).digest()
        salt, kind, limits = os.urandom(32), SCRYPT, (OPERATIONS, MEMORY)
        if password:
            body = _mixed(body, password, salt, *limits)
        else:
            salt, kind, limits = bytes(32), PLAIN, (0, 0)
        header = ALGORITHM + kind + BLAKE2B + salt + struct.pack("<QQ", *limits)
        said = "encrypted" if password else "unencrypted"
        return f"{UNTRUSTED}minisign {said} secret key\n{_encode(header + body)}\n"


def new_key() -> SecretKey:
    """A fresh one."""
    return SecretKey(secrets.token_bytes(8), secrets.token_bytes(32))


def read_secret(path: Path, password: str = "") -> SecretKey:
    """Raises UsageError if the file is none, or the password is not its."""
    data = _decode(_lines(path, 2)[1], path, 158)
    kind, salt = data[2:4], data[6:38]
    operations, memory = struct.unpack("<QQ", data[38:54])
    body = data[54:]
    if data[:2] != ALGORITHM or data[4:6] != BLAKE2B or kind not in (SCRYPT, PLAIN):
        raise _bad(path, "it is of another kind")
    if kind == SCRYPT:
        if not password:
            raise _bad(path, "it is encrypted", "give its password in ATTNC_SIGN_PASSWORD")
        if not (0 < memory <= MEMORY and 0 < operations <= OPERATIONS):
            raise _bad(path, "it asks for more memory than keys need")
        body = _mixed(body, password, salt, operations, memory)
    held, check = body[:72], body[72:]
    if hashlib.blake2b(ALGORITHM + held, digest_size=32).digest() != check:
        raise _bad(path, "its checksum differs: the password is wrong, or it was changed")
    return SecretKey(held[:8], held[8:40])


def read_public(source: str | Path) -> PublicKey:
    """A file, or the base64 text itself. Raises UsageError if it is no public key."""
    path = Path(source)
    text = str(source)
    is_file = len(text) < 4096 and path.is_file()
    line = _lines(path, 2)[1] if is_file else text
    data = _decode(line, source, 42)
    if data[:2] != ALGORITHM:
        raise _bad(source, "it is of another kind")
    return PublicKey(data[2:10], data[10:])


def sign(data: bytes, key: SecretKey, comment: str) -> str:
    """The signature file's text; `comment` is signed as well."""
    if "\n" in comment or "\r" in comment:
        raise UsageError("a comment is one line", where=comment)
    private = _private(key.seed)
    signature = private.sign(hashlib.blake2b(data).digest())
    whole = private.sign(signature + comment.encode())
    lines = (
        f"{UNTRUSTED}signature from minisign secret key",
        _encode(PREHASHED + key.number + signature),
        f"{TRUSTED}{comment}",
        _encode(whole),
    )
    return "\n".join(lines) + "\n"


def check(data: bytes, signature: Path, key: PublicKey) -> str:
    """The trusted comment. Raises SignatureError if the file or the comment is not what was
    signed, or by another key; UsageError if the signature file is none."""
    lines = _lines(signature, 4)
    head = _decode(lines[1], signature, 74)
    whole = _decode(lines[3], signature, 64)
    if not lines[2].startswith(TRUSTED):
        raise _bad(signature, "it has no trusted comment")
    comment = lines[2][len(TRUSTED) :]
    if head[2:10] != key.number:
        raise SignatureError(
            f"signed by the key {shown(head[2:10])}, not by {shown(key.number)}",
            where=str(signature),
            remedy="give the public key of who made the bundle",
        )
    if head[:2] not in (PREHASHED, ALGORITHM):
        raise _bad(signature, "it is of another kind")
    message = hashlib.blake2b(data).digest() if head[:2] == PREHASHED else data
    good = _right(key, head[10:], message) and _right(key, whole, head[10:] + comment.encode())
    if not good:
        raise SignatureError(
            "the signature is not that of this file",
            where=str(signature),
            remedy="get the bundle again from who signed it",
        )
    return comment


def shown(number: bytes) -> str:
    """A key's number as minisign shows it."""
    return number[::-1].hex().upper()


def _lines(path: Path, count: int) -> list[str]:
    try:
        with path.open("rb") as file:
            lines = file.read(LONGEST).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path.name}: {error}", where=str(path)) from error
    if len(lines) < count or not lines[0].startswith(UNTRUSTED):
        raise _bad(path, "it has not the lines of one")
    return lines


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str, source: object, size: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad(source, "it is not base64") from error
    if len(data) != size:
        raise _bad(source, f"it has {len(data)} bytes, not {size}")
    return data


def _bad(
    source: object, why: str, remedy: str = "keys are made by attnc sign --new-key"
) -> UsageError:
    return UsageError(
        f"this is no minisign key or signature that can be used: {why}",
        where=str(source)[:300],
        remedy=remedy,
    )


def _mixed(body: bytes, password: str, salt: bytes, operations: int, memory: int) -> bytes:
    cost, parallel = _scrypt_numbers(operations, memory)
    stream = hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=cost,
        r=8,
        p=parallel,
        maxmem=2 * MEMORY - 2,  # the most that Python takes
        dklen=len(body),
    )
    return bytes(a ^ b for a, b in zip(body, stream, strict=True))


def _scrypt_numbers(operations: int, memory: int) -> tuple[int, int]:
    """N and p for r = 8, as libsodium picks them from its limits."""
    operations = max(operations, 32768)
    bound = operations // 32 if operations < memory // 32 else memory // 1024
    power = next(power for power in range(1, 64) if (1 << power) > bound // 2)
    if operations < memory // 32:
        return 1 << power, 1
    return 1 << power, max(1, min((operations // 4) >> power, 0x3FFFFFFF) // 8)


def _private(seed: bytes) -> Ed25519PrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise MissingRuntimeError(
            "cryptography is not installed, which signs and checks signatures",
            remedy="pip install 'attnc[trust]'",
        ) from error
    return Ed25519PrivateKey.from_private_bytes(seed)


def _public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _right(key: PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise MissingRuntimeError(
            "cryptography is not installed, which signs and checks signatures",
            remedy="pip install 'attnc[trust]'",
        ) from error
    try:
        Ed25519PublicKey.from_public_bytes(key.key).verify(signature, message)
    except InvalidSignature:
        return False
    return True
