"""Pushes this machine's load and memory to the dashboard, once a second.

    python3 tools/examples/dashboard.py [http://127.0.0.1:8081]

Linux, Python 3.10, no packages. Ends by Ctrl-C.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from tidegate import Admin, TidegateError  # noqa: E402


def sample() -> dict[str, float]:
    sizes = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(sizes[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    return {"load": os.getloadavg()[0], "memory": 1 - free / total}


def main() -> None:
    admin = Admin(*sys.argv[1:2])
    while True:
        try:
            admin.publish(sample(), topic="dashboards/machine")
        except TidegateError as error:
            print(f"not published: {error}", file=sys.stderr)
        time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
