"""How the rings of several members are laid out in columns of numbers, to be advanced side by side.

Eight columns of numbers, the lanes of :mod:`l96closure.lanes`, are advanced side by side. A column is a
stretch of a member's ring: some blocks, which are a slow site and its J fast ones each. One, two, four or eight members
share the columns; where a member's do not divide its K blocks, two columns both hold a block, and the same bits. In
memory a row holds one place of all columns, so that neighbours are the rows above and below:

    row           0 1   2 3 ... 1 + blocks J   ... + 4
    fast      halo of 2   blocks J rows      halo of 4       slow likewise, a row for each block, halos of 2 and 2

Only where a column ends do numbers change their lane: the halos are copies of what stands in the column that goes on.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from l96closure.arrays import F64, Index
from l96closure.compiled import threads
from l96closure.lanes import LANES, lines

Places = npt.NDArray[np.uintp]  # unsigned, as indices: those that might be negative cost a comparison

ABOVE, _BELOW_FAST, _BELOW_SLOW = 2, 4, 2  # rows of the halos: two stages reach one site back and two ahead each


class Columns(NamedTuple):
    """Where the rings of some members stand in the columns.

    Attributes
    ----------
    J, blocks : fast sites of a block, blocks of a column.
    block : the block's place among the slow rows, for each fast row (rows,).
    fast, slow : member and site that stand at each place, as one number (rows, LANES).
    fast_ends, slow_ends : places of the halos, and those that they are copies of (2, n).
    fast_places, slow_places : a place of each member and site (member, site).
    """

    J: int
    blocks: int
    block: Index
    fast: Places
    slow: Places
    fast_ends: Places
    slow_ends: Places
    fast_places: Places
    slow_places: Places


@functools.lru_cache(maxsize=32)
def _columns(K: int, J: int, members: int) -> Columns:
    """Lay out the rings of 1, 2, 4 or 8 members."""
    each = LANES // members
    blocks = -(-K // each)
    member, column = np.divmod(np.arange(LANES), each)

    def laid(sites: int, below: int) -> tuple[Places, Places, Places]:
        """Lay out so many sites of each block."""
        row = np.arange(-ABOVE, blocks * sites + below)[:, np.newaxis]
        ring = K * sites
        content = (member * ring + (column * K // each * sites + row) % ring).astype(np.uintp)
        places = np.empty(members * ring, np.uintp)
        inside = slice(ABOVE, ABOVE + blocks * sites)
        numbers = np.arange(content.size).reshape(content.shape)
        places[content[inside]] = numbers[inside]
        ends = np.delete(numbers, inside, axis=0).ravel()
        return content, np.array([ends, places[content.ravel()[ends]]], np.uintp), places.reshape(members, ring)

    fast, fast_ends, fast_places = laid(J, _BELOW_FAST)
    slow, slow_ends, slow_places = laid(1, _BELOW_SLOW)
    block = LANES * (np.arange(-ABOVE, blocks * J + _BELOW_FAST) // J + ABOVE)
    return Columns(J, blocks, block, fast, slow, fast_ends, slow_ends, fast_places, slow_places)


def columns_of(K: int, J: int, members: int) -> Columns:
    """Lay out the rings of so many members, as many of them side by side as is fastest."""
    return _columns(K, J, _sharing(members, K, J))


def _sharing(members: int, K: int, J: int) -> int:
    """Return how many members share columns so that all are done first: the rows of a group, times its turn.

    What else a step costs is that of 40 rows.
    """
    workers = threads() if members > 1 else 1

    def cost(share: int) -> int:
        turns = math.ceil(math.ceil(members / share) / workers)
        return turns * (math.ceil(K * share / LANES) * J + 40)

    return min((1, 2, 4, 8), key=cost)


def laid_out(values: F64, content: Places, members: int) -> F64:
    """Lay numbers (member, site) out in the columns of groups (group, place); the last member fills the last group."""
    groups = -(-len(values) // members)
    filled = values[np.minimum(np.arange(groups * members), len(values) - 1)]
    out: F64 = lines(groups * content.size).reshape(groups, content.size)
    out[:] = filled.reshape(groups, -1)[:, content.ravel()]
    return out


def taken(groups: F64, places: Places) -> F64:
    """Take the numbers (member, site) from the columns of groups (group, place)."""
    return groups[:, places].reshape(-1, places.shape[1])
