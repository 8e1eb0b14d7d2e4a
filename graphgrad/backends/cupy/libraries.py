"""Where NVIDIA's libraries are: in the packages that pip installs, the newest first, in a CUDA
toolkit, or where the system looks."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path


def places_of(library: str) -> Iterator[str]:
    """The paths under which a library such as "nvrtc" may be loaded."""
    patterns = (
        f"lib/lib{library}.so.*",
        f"lib64/lib{library}.so.*",
        f"lib/lib{library}*.dylib",
        f"bin/{library}64_*.dll",
    )
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    roots = [folder for place in folders for folder in sorted(place.glob("*"), reverse=True)]
    roots += [Path(os.environ[name]) for name in ("CUDA_PATH", "CUDA_HOME") if os.environ.get(name)]
    roots.append(Path("/usr/local/cuda"))
    for root in roots:
        for pattern in patterns:
            yield from (
                str(path) for path in sorted(root.glob(pattern)) if "builtins" not in path.name
            )
    found = ctypes.util.find_library(library)
    if found:
        yield found
