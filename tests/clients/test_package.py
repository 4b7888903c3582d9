"""What is installed, and what is written about it."""

import asyncio
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.api.calls import Calls
from tests.clients.test_buffer import run_program

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients/python"
PAGES = {"README": PACKAGE / "README.md", "integrations": ROOT / "docs/integrations/python.md"}
EXAMPLES = [
    pytest.param(text, id=f"{name}-{number}")
    for name, page in PAGES.items()
    for number, text in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
]


async def pip(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PIP_NO_INDEX": "1"},
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def test_the_wheel_needs_httpx_and_nothing_else(tmp_path: Path, gateway_url: str, mine: Calls) -> None:
    pytest.importorskip("hatchling", reason="the build backend is not here, and tests download nothing")
    await pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(tmp_path), str(PACKAGE))
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == "pingpulse_client-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [archive.read(name).decode() for name in names if name.endswith("METADATA")]
    assert "pingpulse/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"pingpulse", "pingpulse_client-0.1.0.dist-info"}
    assert re.findall(r"^Requires-Dist: (.*)$", metadata, re.M) == ["httpx>=0.27"]
    assert "Requires-Python: >=3.10\n" in metadata
    site = tmp_path / "site"
    await pip("install", "--no-deps", "--target", str(site), str(wheel))
    # httpx and what it stands on, and nothing else that is installed here.
    packages = Path(httpx.__file__).parents[1]
    for name in ("httpx", "httpcore", "anyio", "certifi", "h11", "idna", "sniffio", "typing_extensions.py"):
        if (packages / name).exists():
            (site / name).symlink_to(packages / name)
    program = f"""
import sys
sys.path.insert(0, {str(site)!r})
import pingpulse
assert pingpulse.__file__.startswith({str(site)!r}), pingpulse.__file__
with pingpulse.PingPulse() as pulse:
    with pulse.run("nightly", create=True):
        pass
assert "pydantic" not in sys.modules
"""
    environment = {"PINGPULSE_URL": gateway_url, "PINGPULSE_API_KEY": mine.key}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert (process.returncode, output.decode()) == (0, "")
    pings = (await mine.get("/api/pulses/nightly/pings"))["pings"]
    assert [ping["event"] for ping in pings] == ["success", "start"]


@pytest.mark.parametrize("example", EXAMPLES)
async def test_the_examples_run_as_they_are_written(example: str, gateway_url: str, mine: Calls) -> None:
    await mine.post("/api/process-hooks", {"name": "Nightly ETL", "expected_seconds": 60}, 201)
    code, output, _ = await run_program(example, gateway_url, mine.key)
    assert code == 0, output
    assert "Traceback" not in output


async def test_the_examples_are_there() -> None:
    assert len(EXAMPLES) >= 8
