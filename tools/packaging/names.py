"""Names of models as languages spell modules: `shvit_s1` is `ShvitS1`, in Java `shvits1`."""

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


#: Words that are no part of a package's name in Java or Kotlin.
RESERVED = frozenset(
    """
    abstract as assert boolean break byte case catch char class const continue default do
    double else enum extends false final finally float for fun goto if implements import in
    instanceof int interface is long native new null object package private protected public
    return sample short static strictfp super switch synchronized this throw throws transient
    true try typealias typeof val var void volatile when while
    """.split()  # noqa: SIM905
)


def java_package(model: str) -> str:
    """Small letters and digits, beginning with a letter, and no word of Java or Kotlin."""
    name = module_name(model).lower()
    return f"{name}model" if name in RESERVED else name
