"""Names of models as Swift spells modules: `shvit_s1` is `ShvitS1`."""

from __future__ import annotations

import re

#: Modules and types that the package or its sample has or imports: a module of such a name would
#: hide them.
TAKEN = frozenset(
    {
        "AVFoundation",
        "Bundle",
        "Camera",
        "Classification",
        "Classifier",
        "ClassifierError",
        "CoreGraphics",
        "CoreImage",
        "CoreML",
        "CoreVideo",
        "Foundation",
        "ImageIO",
        "Interpolation",
        "PhotosUI",
        "Picture",
        "Sample",
        "Specification",
        "Swift",
        "SwiftUI",
        "UIKit",
        "VideoToolbox",
        "Vision",
        "XCTest",
    }
)


def module_name(model: str) -> str:
    """Letters and digits, beginning with a capital letter, and no name that is taken."""
    words = re.findall(r"[A-Za-z0-9]+", model)
    name = "".join(word[0].upper() + word[1:] for word in words)
    if not name or name[0].isdigit():
        return f"Model{name}"
    return f"{name}Model" if name in TAKEN else name
