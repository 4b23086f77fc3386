"""Every operation of the document, over a real socket, with whatever schemathesis thinks of: no 5xx."""

import asyncio
import sys
from pathlib import Path

import pytest

from penstock.clock import SystemClock
from penstock.compose.front import front
from penstock.door.keys import create_key, make_key
from penstock.model.access import ALL_SITES, Role
from penstock.settings import read_settings
from penstock.store.access import Access
from penstock.store.postgres import Database

SECONDS = 30


async def _key(url: str) -> str:
    database = Database(url, application="test", connections_max=2)
    await database.open()
    made = make_key(SystemClock(), name="fuzz", role=Role.ADMIN, sites=[ALL_SITES], created_by="test", rate=0.0)
    secret = await create_key(Access(database), made)
    await database.close()
    return secret


@pytest.mark.slow
async def test_no_operation_answers_5xx(postgres_url: str, tmp_path: Path) -> None:
    key = await _key(postgres_url)
    settings = read_settings(data=tmp_path, stream={"url": "memory:"}, door={"port": 0})
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        '[[operations]]\ninclude-path = "/v1/live"\nenabled = false\n'  # never ends; see test_live
        '[[operations]]\ninclude-path = "/v1/keys/{key_id}"\nenabled = false\n'  # would end our own
    )
    async with front(settings, postgres_url) as served:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{served.url}/openapi.json",
            "--header", f"X-API-Key: {key}", "--checks", "not_a_server_error", "--phases", "examples,fuzzing",
            "--max-time", str(SECONDS), "--max-examples", "100", "--seed", "7", "--no-color",
            "--suppress-health-check", "all",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
        )  # fmt: skip
        try:
            told, _ = await asyncio.wait_for(running.communicate(), 4 * SECONDS)
        finally:
            if running.returncode is None:
                running.kill()
    assert running.returncode == 0, told.decode()[-6_000:]
