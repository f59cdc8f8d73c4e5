"""One thread per test process, for several slow each other down; and no test asserts on time."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

settings.register_profile("matgen", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("matgen")
