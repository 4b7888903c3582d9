"""What two sequences have in common, in order: a longest common subsequence.

Not `difflib.SequenceMatcher`, which looks for long runs and so leaves out what a longest one would have.
"""

from collections.abc import Iterator, Sequence
from typing import Final

MAX_ITEMS: Final = 10_000
"""Of each sequence. On the way a bit is kept for each pair of items: 12 MB then."""


def align(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """The positions of equal items, rising in both, as many as there can be.

    Of several ways, `align(b, a)` goes the same as `align(a, b)`. What the beginnings share is kept together, and then
    what the ends share. Raises ValueError for more than MAX_ITEMS.
    """
    if max(len(a), len(b)) > MAX_ITEMS:
        raise ValueError(f"At most {MAX_ITEMS} items can be aligned.")
    shorter = min(len(a), len(b))
    start = next((index for index in range(shorter) if a[index] != b[index]), shorter)
    end = next((index for index in range(shorter - start) if a[-1 - index] != b[-1 - index]), shorter - start)
    ours, theirs = list(a[start : len(a) - end]), list(b[start : len(b) - end])
    if (len(ours), ours) <= (len(theirs), theirs):
        middle = list(_align(ours, theirs))
    else:
        middle = [(i, j) for j, i in _align(theirs, ours)]
    return [
        *((index, index) for index in range(start)),
        *((start + i, start + j) for i, j in middle),
        *((len(a) - index, len(b) - index) for index in range(end, 0, -1)),
    ]


def _align(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int]]:
    """By dynamic programming, a row of whose table is one number (H. Hyyrö, "Bit-parallel LCS-length computation
    revisited", 2004): 2,000 items take as many additions, whatever they are.

    Row i is about what of `a` comes from i on. In it the bit of j is 0 if b[j] makes what it has in common with `b`
    from j on longer than without. It is the one at `last - j`, because the table is filled from the ends.
    """
    last = len(b) - 1
    places: dict[str, int] = {}
    for j, item in enumerate(b):
        places[item] = places.get(item, 0) | 1 << last - j
    everywhere = (1 << len(b)) - 1
    row, rows = everywhere, []
    for item in reversed(a):
        hits = row & places.get(item, 0)
        row = (row + hits | row - hits) & everywhere
        rows.append(row)
    rows.reverse()
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            yield i, j
            i, j = i + 1, j + 1
        elif rows[i] >> last - j & 1:
            j += 1
        else:
            i += 1
