"""An exception of the user's code in one line, with the line of theirs where it was raised."""

import sysconfig
import traceback
from pathlib import Path

_NETWORK = (
    "urlerror",
    "connectionerror",
    "httperror",
    "maxretryerror",
    "gaierror",
    "localentrynotfound",
    "newconnection",
)
_OURS = str(Path(__file__).parents[3])


def trouble(error: BaseException) -> str:
    """`Type: first line (file.py:12)`, the place being the innermost line outside the standard library and us."""
    words = " ".join(str(error).split())[:300]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {words}{where}" if words else f"{type(error).__name__}{where}"


def wants_network(error: BaseException | None) -> bool:
    """Whether a download failed: anywhere in the chain of causes."""
    while error is not None:
        names = [kind.__name__.lower() for kind in type(error).__mro__]
        if any(word in name for name in names for word in _NETWORK) or "Name or service not known" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_theirs(file: str) -> bool:
    libraries = (*(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")), _OURS, "<frozen")
    return not file.startswith(libraries)
