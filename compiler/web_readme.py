"""The part of a bundle's README for browsers: what its files are, and the lines that load it."""

from __future__ import annotations

from attnc.compiler.manifest_parts import WebEntry


def web_lines(entry: WebEntry) -> list[str]:
    """Markdown for `README.md`."""
    megabytes = (entry.arena_bytes + entry.weight_bytes) / 1e6
    return [
        "## In a page",
        "",
        f"- `{entry.folder}/`: the program, its weights, our WebAssembly engine and the modules",
        f"  that load it; {megabytes:.0f} MB of memory. Serve the folder as it is.",
        "- `model.onnx`: standard operators only, for onnxruntime-web with WebGPU.",
        "",
        "```js",
        f'import {{ openModel }} from "./{entry.folder}/model.js";',
        "",
        f'const model = await openModel({{ base: "{entry.folder}/" }});',
        "const { labels, milliseconds } = await model.classify(file);",
        "```",
        "",
        "More than one thread needs a page that is cross-origin isolated, by the headers",
        "`Cross-Origin-Opener-Policy: same-origin`, `Cross-Origin-Embedder-Policy: require-corp`.",
        "A whole page, which brings them itself: `attnc package --kind web`.",
        "",
    ]
