"""Damaged copies of whole files: bytes flipped, set, lost, doubled, moved, cut off."""

from hypothesis import strategies as st

EDITS = ("flip", "set", "number", "lose", "insert", "repeat", "copy", "cut")
NUMBERS = [
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x01\0\0\0",
    b"\0\0\0\x01",
    b"\xff\xff",
]


@st.composite
def mutated(draw: st.DrawFn, whole: bytes, edits: int = 3) -> bytes:
    """`whole` after one to `edits` edits, half of them within its first 64 bytes, where headers are."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, edits))):
        last = max(0, len(data) - 1)
        at = draw(st.integers(0, last) | st.integers(0, min(63, last)))
        edit(draw, data, draw(st.sampled_from(EDITS)), at)
    return bytes(data)


def edit(draw: st.DrawFn, data: bytearray, kind: str, at: int) -> None:
    length = draw(st.integers(1, 24))
    if kind == "flip" and data:
        data[at] ^= 1 << draw(st.integers(0, 7))
    elif kind == "set":
        data[at : at + 1] = draw(
            st.sampled_from([b"\0", b"\xff", b"\n", b'"', b","]) | st.binary(min_size=1, max_size=1)
        )
    elif kind == "number":
        number = draw(st.sampled_from(NUMBERS))
        data[at : at + len(number)] = number
    elif kind == "lose":
        del data[at : at + length]
    elif kind == "insert":
        data[at:at] = draw(st.binary(max_size=12))
    elif kind == "repeat":
        data[at:at] = data[at : at + length]
    elif kind == "copy":
        source = draw(st.integers(0, max(0, len(data) - 1)))
        data[at : at + length] = data[source : source + length]
    elif kind == "cut":
        del data[at:]
