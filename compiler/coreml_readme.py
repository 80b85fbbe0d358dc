"""The README of a Core ML bundle: what the package takes and gives, and the Swift that calls it."""

from __future__ import annotations

from attnc.compiler.coreml_batches import BATCHES
from attnc.compiler.manifest import CoremlEntry, Manifest, Preprocessing

#: macOS of the same year as an iOS.
MACOS = {15: 12, 16: 13, 17: 14, 18: 15}


def coreml_readme(manifest: Manifest, entry: CoremlEntry) -> str:
    """Markdown text for `README.md`."""
    parts = [_head(manifest, entry), _picture(manifest), _swift(manifest, entry)]
    return "\n".join(line for part in (*parts, _limits(manifest, entry)) for line in part)


def _head(manifest: Manifest, entry: CoremlEntry) -> list[str]:
    given, made = manifest.inputs[0], manifest.outputs[0]
    array = f"{given.dtype} [{', '.join(str(size) for size in given.shape)}]"
    height, width = manifest.inputs[0].shape[-2:]
    if manifest.batch == "dynamic":
        *some, last = map(str, BATCHES)
        array += f", with a batch of {', '.join(some)} or {last}"
    takes = f"an RGB picture of {width} x {height} pixels" if entry.input == "image" else array
    logits = f"`{made.name}` ({made.dtype})"
    gives = f"`classLabel`, `classLabel_probs` and {logits}" if entry.classifier else logits
    return [
        f"# {manifest.model} for Core ML",
        "",
        f"`{entry.package}`: an ML Program for iOS {entry.ios} or macOS {MACOS[entry.ios]} and "
        f"later, {manifest.precision}, made by attnc {manifest.built_with.get('attnc', '')}.",
        "",
        f"- input: `{manifest.inputs[0].name}`, {takes}",
        f"- output: {gives}",
        f"- {sum(entry.operations.values())} operations, {entry.weight_bytes / 1e6:.1f} MB of "
        "weights",
        f"- operations in float32: {len(manifest.float32_regions)}, each with its reason in "
        "`manifest.json`",
        "",
    ]


def _picture(manifest: Manifest) -> list[str]:
    rule = manifest.preprocessing
    if rule is None:
        return []
    entry = manifest.coreml
    inside = entry is not None and entry.input == "image"
    return ["## Pictures", "", *_rule(rule, inside=inside), ""]


def _rule(rule: Preprocessing, *, inside: bool) -> list[str]:
    height, width = rule.image_size
    after = (
        "Colours are normalised inside the program: hand it the pixels as they are."
        if inside
        else f"Then `(value / 255 - mean) / std` with mean {list(rule.mean)} and std "
        f"{list(rule.std)}."
    )
    return [
        f"Scale the picture ({rule.interpolation}, proportions kept) so that it covers "
        f"{width} x {height} divided by {rule.crop_fraction:g}, and cut the middle {width} x "
        f"{height} out. {after}",
        "",
        "Vision's `.centerCrop` scales to the input itself, without that margin: crop before.",
    ]


def _swift(manifest: Manifest, entry: CoremlEntry) -> list[str]:
    name, output = manifest.inputs[0].name, manifest.outputs[0].name
    made = "MLFeatureValue(pixelBuffer: picture)"
    value = made if entry.input == "image" else "MLFeatureValue(multiArray: array)"
    return [
        "## Swift",
        "",
        "```swift",
        "import CoreML",
        "",
        "let configuration = MLModelConfiguration()",
        "configuration.computeUnits = .all",
        f'let compiled = try await MLModel.compileModel(at: url)  // of "{entry.package}"',
        "let model = try MLModel(contentsOf: compiled, configuration: configuration)",
        f'let input = try MLDictionaryFeatureProvider(dictionary: ["{name}": {value}])',
        "let result = try await model.prediction(from: input)",
        f'let logits = result.featureValue(for: "{output}")!.multiArrayValue!',
        *(
            ['let label = result.featureValue(for: "classLabel")!.stringValue']
            if entry.classifier
            else []
        ),
        "```",
        "",
    ]


def _limits(manifest: Manifest, entry: CoremlEntry) -> list[str]:
    found = [f"{rule}: {count}" for rule, count in entry.placement.items()]
    listed = ", ".join(found) or "nothing"
    return [
        "## What is known of it",
        "",
        "`attnc verify` evaluates the package operation by operation, by the meaning that MIL's "
        "reference gives them, on any machine; on a Mac it runs Core ML itself as well.",
        "",
        f"What is known to leave the Neural Engine or to be slow there ({listed}) is listed by "
        "`attnc mil . --lint`. Which processor an operation runs on is decided by Core ML.",
        "",
    ]
