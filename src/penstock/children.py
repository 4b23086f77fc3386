"""Processes that belong to ours: started again when they die, ended with us, never left behind."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Sequence

from penstock.telemetry import log

PR_SET_PDEATHSIG = 1
STOP_S = 8.0
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0


def end_with_parent(parent_pid: int) -> None:
    """Get SIGTERM when the parent dies, however it dies. Elsewhere than on Linux the parent has to see to it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        raise SystemExit(0)


class Child:
    """One `penstock ...` process beside ours, kept running until `stop`."""

    def __init__(self, name: str, words: Sequence[str], handed: bytes = b"") -> None:
        self.name, self._words, self._handed = name, words, handed
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def keep_running(self) -> None:
        """Start it, and start it again each time it ends, a little later each time it ends soon."""
        soon = 0
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            code = await self._run()
            soon = soon + 1 if loop.time() - began < STEADY_S else 0
            if not self._stopping:
                log.warning("a process ended and is started again", process=self.name, exit_code=code)
                await asyncio.sleep(BACKOFF_S[min(soon, len(BACKOFF_S)) - 1] if soon else 0)

    async def _run(self) -> int:
        """What the process needs to know goes through its standard input: neither arguments nor environment tell."""
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "penstock", *self._words, stdin=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        try:
            process.stdin.write(self._handed)
            await process.stdin.drain()
            process.stdin.close()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has ended already; its exit code says the rest
        return await process.wait()

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL for one that does not listen."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
