"""A user's module that never gets to its pipeline; `up-{rank}` holds the numbers of its process and of a child."""

import os
import signal
import subprocess
import sys
from pathlib import Path

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
Path(f"up-{os.environ['RANK']}.tmp").write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
Path(f"up-{os.environ['RANK']}.tmp").rename(f"up-{os.environ['RANK']}")
signal.pause()
