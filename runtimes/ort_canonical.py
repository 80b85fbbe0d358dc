"""ORT format files in one form: ONNX Runtime writes the same model as other bytes each time.

A file ends with the model, always alike, and begins with a list of the operators' types, whose
entries lie in the order of a hash table with a random seed. They are written anew, sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flatbuffers import Builder  # type: ignore[import-untyped]
from flatbuffers.number_types import Int8Flags, Uint32Flags  # type: ignore[import-untyped]
from flatbuffers.table import Table  # type: ignore[import-untyped]

IDENTIFIER = b"ORTM"
#: Fields by number: of the root, and of a pair, which is a name and what belongs to it.
VERSION, MODEL, TYPES, ENTRIES, NAME, MEMBERS, KIND, PLACE = 0, 1, 3, 0, 0, 1, 0, 1
ALIGNMENT = 16


def canonical(data: bytes) -> bytes:
    """The same model, the same operators, in an order that depends on nothing else.

    Raises ValueError if these are not the bytes of an ORT format file.
    """
    root = _root(data)
    model, version = _table(root, MODEL), root.Pos + _field(root, VERSION)
    version += _number(data, version)
    begin = min(model.Pos, model.Pos - _number(data, model.Pos))  # its layout may lie before it
    room = 4 * begin + 1024
    builder = Builder(0)
    builder.Bytes = bytearray(room) + data[begin:]
    builder.head, builder.minalign = room, ALIGNMENT
    types = _write_types(builder, _table(root, TYPES))
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(VERSION, len(data) - version, 0)
    builder.PrependUOffsetTRelativeSlot(MODEL, len(data) - model.Pos, 0)
    builder.PrependUOffsetTRelativeSlot(TYPES, types, 0)
    builder.Finish(builder.EndObject(), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def operators(data: bytes) -> list[tuple[str, int, str]]:
    """Domain, version and name of each operator of the file, sorted; ONNX's domain is ai.onnx.

    Raises ValueError if these are not the bytes of an ORT format file.
    """
    found = []
    for entry in _tables(_table(_root(data), TYPES), ENTRIES):
        domain, name, version = _text(entry).decode().split(":")
        found.append((domain or "ai.onnx", int(version), name))
    return sorted(found)


def _write_types(builder: Any, types: Any) -> int:
    """Operator -> name of a type -> inputs and outputs of that type."""
    entries = []
    for entry in sorted(_tables(types, ENTRIES), key=_text):
        kinds = [
            _pair(builder, kind, [_write_place(builder, place) for place in _tables(kind, MEMBERS)])
            for kind in sorted(_tables(entry, MEMBERS), key=_text)
        ]
        entries.append(_pair(builder, entry, kinds))
    listed = _vector(builder, entries)
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(ENTRIES, listed, 0)
    return int(builder.EndObject())


def _pair(builder: Any, old: Any, members: list[int]) -> int:
    name, listed = builder.CreateSharedString(_text(old)), _vector(builder, members)
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(NAME, name, 0)
    builder.PrependUOffsetTRelativeSlot(MEMBERS, listed, 0)
    return int(builder.EndObject())


def _write_place(builder: Any, place: Any) -> int:
    kind = place.GetSlot(4 + 2 * KIND, 0, Int8Flags)
    index = place.GetSlot(4 + 2 * PLACE, 0, Uint32Flags)
    builder.StartObject(2)
    builder.PrependInt8Slot(KIND, kind, 0)
    builder.PrependUint32Slot(PLACE, index, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _root(data: bytes) -> Any:
    if data[4:8] != IDENTIFIER:
        raise ValueError("not an ORT format file")
    return Table(data, _number(data, 0))


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little", signed=True)


def _field(table: Any, number: int) -> int:
    place = int(table.Offset(4 + 2 * number))
    if not place:
        raise ValueError("not an ORT format file of a version that is known")
    return place


def _table(table: Any, number: int) -> Any:
    return Table(table.Bytes, table.Indirect(table.Pos + _field(table, number)))


def _tables(table: Any, number: int) -> Iterator[Any]:
    place = _field(table, number)
    begin = table.Vector(place)
    for index in range(table.VectorLen(place)):
        yield Table(table.Bytes, table.Indirect(begin + 4 * index))


def _text(table: Any) -> bytes:
    return bytes(table.String(table.Pos + _field(table, NAME)))
