"""Dates and times as whole numbers that sort like them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pepbench.data.readers.chunk import Chunk

FAR = 8_500_000_000
"""Seconds before or after 1970 from which on times are in seconds."""
LARGEST_TIME = 2**63 - 1
WHOLE, LOCAL, ZONED = "a whole number", "2024-12-31 23:59:59", "2024-12-31 23:59:59Z"
_STAMP = "[0-9]{4}-[01][0-9]-[0-3][0-9]"
_CLOCK = "[ T][0-2][0-9]:[0-5][0-9]:[0-5][0-9]([.][0-9]+)?"
TIMES = {
    WHOLE: "^-?([0-9]{1,18}|[0-8][0-9]{18})$",  # fits into 64 bits
    LOCAL: f"^{_STAMP}({_CLOCK})?$",
    ZONED: f"^{_STAMP}{_CLOCK}(Z|[+-][0-9]{{2}}:?[0-9]{{2}})$",
}
"""Forms of times as text; a column keeps to that of its first row."""


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


@dataclass(frozen=True)
class TimeReader:
    """Times of a column as whole numbers, in one unit in all chunks."""

    column: str
    _texts: list[str] = field(default_factory=list)
    """What the texts of the column are, once it is known."""

    def __call__(self, chunk: Chunk) -> pa.Array:
        """Times of a chunk, (n,); raises :class:`DataError` for the first that is none."""
        values = chunk[self.column]
        if values.null_count:
            missing = values.is_null().to_numpy(zero_copy_only=False)
            chunk.refuse(self.column, missing, np.arange(len(values)), "expected a time")
        if pa.types.is_timestamp(values.type) or pa.types.is_date64(values.type):
            return values.view(pa.int64())
        if pa.types.is_date32(values.type):
            return values.view(pa.int32()).cast(pa.int64())
        if pa.types.is_unsigned_integer(values.type):
            large = np.asarray(pc.fill_null(values, 0)) > LARGEST_TIME
            chunk.refuse(self.column, large, np.arange(len(values)), "expected a number below 2^63")
        if pa.types.is_integer(values.type):
            return values.cast(pa.int64())
        return self._of_texts(chunk)

    def _of_texts(self, chunk: Chunk) -> pa.Array:
        texts, indices = chunk.distinct(self.column)
        forms = {
            name: pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
            for name, pattern in TIMES.items()
        }
        if not self._texts:
            self._texts.extend(name for name, legal in forms.items() if legal[indices[:1]].all())
        form = self._texts[0] if self._texts else "a whole number or 2024-12-31 23:59:59"
        legal = forms.get(form, np.zeros(len(texts), dtype=np.bool_))
        chunk.refuse(self.column, ~legal, indices, f"expected {form}")
        # Texts that no row has, as of a dictionary of the whole file, need not be times.
        texts = pc.if_else(pa.array(legal), texts, None)
        if form == WHOLE:
            return texts.cast(pa.int64()).take(pa.array(indices))
        try:
            times = _moments(texts, form)
        except pa.ArrowInvalid:
            wrong = np.array([not _exists(moment, form) for moment in texts.to_pylist()])
            chunk.refuse(self.column, wrong, indices, "expected a day and a time that exist")
            raise
        return times.take(pa.array(indices))


def _moments(texts: pa.StringArray, form: str) -> pa.Int64Array:
    return nanoseconds(texts, "UTC" if form == ZONED else None)


def _exists(moment: str | None, form: str) -> bool:
    try:
        _moments(pa.array([moment], pa.string()), form)
    except pa.ArrowInvalid:
        return False
    return True
