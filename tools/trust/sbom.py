"""What a bundle contains and was made by, as a CycloneDX bill of materials (JSON, version 1.6).

The same bundle gives the same bytes: no time, and a serial number made from the digest.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError
from attnc.compiler.manifest import FileEntry

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

FILE_NAME = "sbom.cdx.json"


def bill_of_materials(bundle: Bundle) -> str:
    """The document's text. Raises MissingRuntimeError without cyclonedx-python-lib."""
    try:
        from cyclonedx.model.bom import Bom
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError as error:
        raise MissingRuntimeError(
            "cyclonedx-python-lib is not installed, which writes bills of materials",
            remedy="pip install 'attnc[trust]'",
        ) from error
    manifest = bundle.manifest
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, manifest.digest))
    model, components = _model(bundle), [*_files(bundle), *_packages(bundle)]
    bom.metadata.component = model
    for component in components:
        bom.components.add(component)
    bom.register_dependency(model, components)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"].pop("timestamp", None)
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _model(bundle: Bundle) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    manifest = bundle.manifest
    said = {
        "attnc:target": manifest.target,
        "attnc:profile": manifest.profile,
        "attnc:precision": manifest.precision,
        "attnc:source": f"{manifest.source.kind} {manifest.source.name}",
        "attnc:weights-sha256": manifest.source.weights_sha256 or "",
        "attnc:checkpoint-sha256": manifest.source.checkpoint_sha256 or "",
    }
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=manifest.model,
        version=manifest.digest[:12],
        bom_ref="model",
        properties=[Property(name=name, value=value) for name, value in said.items() if value],
    )


def _files(bundle: Bundle) -> Iterator[Component]:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    kernels = {library.path for library in bundle.manifest.kernels}
    for entry in bundle.manifest.files:
        kind = ComponentType.LIBRARY if entry.path in kernels else ComponentType.FILE
        yield Component(
            type=kind,
            name=entry.path,
            bom_ref=_reference(entry),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=entry.sha256)],
        )


def _packages(bundle: Bundle) -> Iterator[Component]:
    """What built it."""
    from cyclonedx.model.component import Component, ComponentScope, ComponentType

    for name, version in sorted(bundle.manifest.built_with.items()):
        yield Component(
            type=ComponentType.APPLICATION,
            name=name,
            version=version,
            scope=ComponentScope.EXCLUDED,
            bom_ref=f"built-with/{name}",
        )


def _reference(entry: FileEntry) -> str:
    return f"file/{entry.path}"
