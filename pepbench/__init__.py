"""pepbench: how few parameters can a recommender's embedding table have?

The folders are the rooms that data walk through: ``data`` → ``training`` and ``backbones``
→ ``harness`` → ``records`` → ``analysis`` → ``report``. Methods live in ``baselines``
(and PEP in ``pepbench.pep``), data sets in ``datasets``.
"""

from pepbench.checkout import find_packages_of_checkout

find_packages_of_checkout()

__version__ = "0.1.0"
