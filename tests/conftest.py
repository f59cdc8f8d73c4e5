"""One thread per test process: several that spin on the same cores slow each other down."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
