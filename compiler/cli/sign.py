"""`attnc sign` and `attnc sbom`: who made a bundle, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sign(
    bundle: Annotated[
        Path | None, typer.Argument(help="The bundle's folder; none with --new-key.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="A minisign secret key.")] = None,
    new_key: Annotated[
        Path | None, typer.Option(help="Make a pair of keys: this name with .key and .pub.")
    ] = None,
) -> None:
    """Sign a bundle, or make the keys for it; needs no network.

    The signature is minisign's, of manifest.json, which has the hash of every file. A key's
    password is read from ATTNC_SIGN_PASSWORD.
    """
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.cli.console import note
    from attnc.compiler.errors import UsageError
    from attnc.tools.trust.signing import make_keys, sign_bundle

    if (bundle is None) == (new_key is None) or (bundle is None) != (key is None):
        raise UsageError(
            "sign takes a bundle and --key, or --new-key alone",
            remedy="attnc sign BUNDLE --key me.key, or attnc sign --new-key me",
        )
    if new_key is not None:
        secret, public = make_keys(new_key)
        note(f"{secret}: keep it; {public}: give it to those who check")
        return
    assert bundle is not None
    assert key is not None
    note(f"signed: {sign_bundle(Bundle.open(bundle), key)}")


def sbom(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A file, or - for the terminal.")],
) -> None:
    """Write what a bundle contains and was made by, as CycloneDX JSON."""
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.cli.console import note
    from attnc.compiler.staging import write_text
    from attnc.tools.trust.sbom import bill_of_materials

    text = bill_of_materials(Bundle.open(bundle))
    if str(output) == "-":
        typer.echo(text, nl=False)
        return
    write_text(output, text)
    note(f"written: {output}")
