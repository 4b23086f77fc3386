"""One simulated account as a process of its own: moto is corrected in it, and goes when it goes."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import botocore.session
from botocore.config import Config

REGION: Final = "eu-west-2"
ACCOUNT: Final = "123456789012"
TESTS: Final = Path(__file__).parent.parent
ENDING_S: Final = 5.0
ANSWER_S: Final = 300
"""A machine that is busy with other things answers late, and nobody is helped by giving up."""
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "simulated", "AWS_SECRET_ACCESS_KEY": "simulated"}


class SimulatedAws:
    """`with SimulatedAws() as aws`: `aws.url` answers like every AWS service; what it was asked is in `aws.log`.

    With a *url*, one that runs already, seen from another region.
    """

    def __init__(self, *, region: str = REGION, corrected: bool = True, log: Path | None = None, url: str = "") -> None:
        self.region, self.corrected = region, corrected
        self.log = log or Path(tempfile.gettempdir()) / f"simaws-{os.getpid()}-{id(self)}.log"
        self.url = url
        self._botocore = botocore.session.Session()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "simaws", *([] if self.corrected else ["--uncorrected"])]
        environment = os.environ | CREDENTIALS | {"PYTHONPATH": str(TESTS)}
        with self.log.open("w") as said:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment, cwd=TESTS
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"simulated AWS did not start: {self.log.read_text()[-2000:]}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to be in this account."""
        return CREDENTIALS | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str, region: str | None = None, **credentials: str) -> Any:
        """One service's client, which asks once and tells what it was answered."""
        given = credentials or {"aws_access_key_id": "simulated", "aws_secret_access_key": "simulated"}
        return self._botocore.create_client(
            service,
            region_name=region or self.region,
            endpoint_url=self.url,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, read_timeout=ANSWER_S),
            **given,
        )
