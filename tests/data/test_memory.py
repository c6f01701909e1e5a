"""Memory grows with vocabularies and blocks, not with rows."""

import subprocess
import sys

import numpy as np
import pytest

CODE = """
import re, sys
from pathlib import Path
from pepbench.catalog import Catalog
from pepbench.data.manage import add
from pepbench.data.splits import open_splits
dataset = Catalog().select("dataset", "criteo:split=time").default()
splits = open_splits(add(dataset, Path(sys.argv[1])), 0)
assert splits.meta.n_rows["train"] == int(sys.argv[2])
# Not ru_maxrss, which a process inherits from the one that started it.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_eight_times_the_rows_take_hardly_more_memory(tmp_path, cache):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 10_000, (40_000, 40))
    values[:, 0] %= 2
    lines = "".join("\t".join(map(str, row)) + "\n" for row in values.tolist())
    peaks = []
    for copies in (4, 32):
        path = tmp_path / f"{copies}.txt"
        with path.open("w") as file:
            for _ in range(copies):
                file.write(lines)
        command = [sys.executable, "-c", CODE, path, str(32_000 * copies)]
        ran = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        peaks.append(int(ran.stdout))
        assert path.stat().st_size > copies * 7_000_000
    assert cache.exists()
    # The larger table alone has 200 MB of codes; the smaller file fills the pipeline, too.
    assert peaks[1] < peaks[0] + 50
