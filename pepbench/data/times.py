"""Dates and times in texts as whole numbers that sort like them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FAR = 8_500_000_000
"""Seconds before or after 1970 from which on times are in seconds."""


def nanoseconds(texts: pa.StringArray, zone: str | None) -> pa.Int64Array:
    """Dates or times as whole numbers in their order, (k,): nanoseconds since 1970, cut off there.

    Where these do not fit into 64 bits, before 1700 and after 2239, the numbers count seconds.

    Texts are as in ``2024-12-31 23:59:59.5``, with a zone behind if ``zone`` is not None; Arrow's
    exception is raised for a day or a time that does not exist.

    >>> times = ["1970-01-01 00:00:00.0000000019", "2239-05-10 15:06:40", "2239-05-10 15:06:41"]
    >>> nanoseconds(pa.array(times), None).to_pylist()
    [1, 8500000000000000000, 8500000000000000001]
    """
    whole = pc.replace_substring_regex(texts, "[.][0-9]+", "")
    fraction = pc.replace_substring_regex(pc.fill_null(texts, ""), "^[^.]*[.]?|[^0-9.].*$", "")
    seconds = pc.fill_null(whole.cast(pa.timestamp("s", zone)).cast(pa.int64()), 0).to_numpy()
    digits = pc.utf8_slice_codeunits(pc.utf8_rpad(fraction, 9, "0"), 0, 9)
    below = digits.cast(pa.int64()).to_numpy()
    beyond = np.abs(seconds) - FAR
    far = np.sign(seconds) * (FAR * 10**9 + beyond)
    return pa.array(np.where(beyond >= 0, far, seconds * 10**9 + below))
