"""The examples in JavaScript, of the public API's reference and of our own page, run by Node as they stand."""

import shutil
from pathlib import Path

import pytest

from tests.api.calls import Calls
from tests.clients_shell.programs import EXAMPLES, put_in, run, snippets
from tests.clients_shell.test_exec import events
from tests.support.stack import Stack

PACKAGES = Path(__file__).parent / "node"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")


@pytest.fixture(scope="module")
async def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with axios in it, of the version and with the checksums of the lock file."""
    home = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PACKAGES / name, home)
    if (npm := shutil.which("npm")) is None:
        pytest.skip("npm is not installed")
    ended = await run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", cwd=home)
    away = (b"ENOTFOUND", b"ECONNREFUSED", b"EAI_AGAIN", b"ETIMEDOUT", b"ECONNRESET", b"ENETUNREACH")
    if ended.code and any(word in ended.error for word in away):
        pytest.skip("npm reaches no registry")
    assert ended.code == 0, ended
    return home


async def test_axios_as_in_the_reference(modules: Path, stack: Stack, ours: Calls) -> None:
    await ours.post(
        "/api/workflows",
        {"kind": "static", "id": "swf_axios", "name": "Static", "stages": [{"order": 1}, {"order": 2}]},
        201,
    )
    there = {"https://pingpulsehq.com": stack.url, "YOUR_KEY": stack.key}
    # Ids of workflows are of the whole installation, and other examples have taken these.
    there |= {"swf123": "swf_axios", "ml_pipeline": "axios_pipeline"}
    text = put_in((EXAMPLES / "axios.js").read_text(), there)
    # Where there is `require`, `await` stands in functions only.
    (modules / "axios.cjs").write_text(f"(async () => {{\n{text}\n}})();\n")
    ended = await run("node", "axios.cjs", cwd=modules)
    assert (ended.code, ended.error) == (0, b""), ended
    assert (await ours.get("/shk/swf_axios/tree"))["1"] == {"status": "healthy"}
    assert await ours.get("/dhk/axios_pipeline/tree") == {"1": {"status": "healthy"}}


async def test_fetch_as_in_the_reference(tmp_path: Path, stack: Stack, ours: Calls) -> None:
    there = {"https://app.pingpulse.com": stack.url, "your_api_key": stack.key, "YOUR_WORKFLOW_ID": "from_fetch"}
    (tmp_path / "fetch.mjs").write_text(put_in((EXAMPLES / "fetch.js").read_text(), there))
    ended = await run("node", "fetch.mjs", cwd=tmp_path)
    assert (ended.code, ended.error) == (0, b""), ended
    (instance,) = (await ours.history("from_fetch"))["recent_instances"]
    timeline = (await ours.get(f"/api/instances/{instance['id']}/timeline"))["timeline"]
    assert [step["payload"] for step in timeline] == [{"step": "extract"}, {"records": 1000}, {"status": "complete"}]


async def test_our_page(tmp_path: Path, stack: Stack, ours: Calls) -> None:
    text = "\n".join(snippets("node.md", "js"))
    (tmp_path / "page.mjs").write_text(put_in(text, {"http://localhost:8000": stack.url, "YOUR_KEY": stack.key}))
    # The account of the tests has no owner who could be asked.
    page = (tmp_path / "page.mjs").read_text().replace("{ context,", '{ approvers: ["ada@example.com"], context,')
    (tmp_path / "page.mjs").write_text(page)
    ended = await run("node", "page.mjs", cwd=tmp_path)
    assert (ended.code, ended.out, ended.error) == (0, b"false\n", b""), ended
    (instance,) = (await ours.history("node-etl"))["recent_instances"]
    timeline = (await ours.get(f"/api/instances/{instance['id']}/timeline"))["timeline"]
    assert [step["payload"] for step in timeline] == [None, {"rows": 1500}, None]
    assert [ping["event"] for ping in await events(ours, "node-worker")] == ["success"]
