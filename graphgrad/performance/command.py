"""Other programs, asked for what they print; what cannot start or takes too long is None."""

from __future__ import annotations

import subprocess

TIME_LIMIT = 60.0  # seconds for another process; it takes about one

Finished = subprocess.CompletedProcess[str]


def run_command(command: list[str], environment: dict[str, str] | None = None) -> Finished | None:
    """A finished process, or None where it cannot start or takes too long."""
    try:
        return subprocess.run(
            command,
            env=environment,
            timeout=TIME_LIMIT,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
