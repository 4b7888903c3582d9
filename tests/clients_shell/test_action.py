"""The GitHub Action: its metadata is what GitHub takes, and its steps do what they say, run as a runner runs them."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from tests.api.calls import Calls, new_id
from tests.clients_shell.programs import EXAMPLES, run, snippets
from tests.clients_shell.shells import Ended
from tests.clients_shell.test_exec import events, new_pulse
from tests.support.stack import Stack

ACTION = Path(__file__).parents[2] / "clients" / "github-action"
METADATA: dict[str, Any] = yaml.safe_load((ACTION / "action.yml").read_text())
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


def filled(text: object, context: dict[str, str]) -> str:
    """A value with its expressions put in, as text, as the runner does."""
    return EXPRESSION.sub(lambda found: context[found[1]], str(text))


async def run_step(step: dict[str, Any], context: dict[str, str], home: Path, **variables: str) -> Ended:
    """As the runner does with `shell: bash`, or without a shell in a workflow on Linux."""
    script = home / f"{uuid4()}.sh"
    script.write_text(filled(step["run"], context))
    options = ("--noprofile", "--norc", "-eo", "pipefail") if "shell" in step else ("-e",)
    given = {name: filled(value, context) for name, value in step.get("env", {}).items()}
    return await run("bash", *options, str(script), cwd=home, **variables, **given)


class Runner:
    """Uses the action on `home`. Inputs that are left out have their defaults."""

    def __init__(self, stack: Stack, home: Path) -> None:
        self._stack, self._home = stack, home
        self.outputs: dict[str, str] = {}

    async def uses(self, **given: object) -> Ended:
        inputs = {"url": self._stack.url, "key": self._stack.key}
        inputs |= {name.replace("_", "-"): as_text(value) for name, value in given.items()}
        assert set(inputs) <= set(METADATA["inputs"])
        defaults = {name: about.get("default", "") for name, about in METADATA["inputs"].items()}
        context = {f"inputs.{name}": value for name, value in (defaults | inputs).items()}
        context["github.action_path"] = str(ACTION)
        (step,) = METADATA["runs"]["steps"]
        output = self._home / "output"
        output.write_text("")
        ended = await run_step(
            step,
            context,
            self._home,
            GITHUB_OUTPUT=str(output),
            GITHUB_REPOSITORY="ada/engine",
            GITHUB_SHA="abc123",
            GITHUB_REF="refs/heads/main",
            GITHUB_JOB="build",
            GITHUB_RUN_ID="42",
            GITHUB_SERVER_URL="https://github.com",
        )
        said = dict(line.split("=", 1) for line in output.read_text().splitlines())
        found = {f"steps.{step['id']}.outputs.{name}": value for name, value in said.items()}
        self.outputs = {
            name: found.get(EXPRESSION.fullmatch(about["value"])[1], "")  # type: ignore[index]
            for name, about in METADATA["outputs"].items()
        }
        return ended


def as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture
def runner(stack: Stack, tmp_path: Path) -> Runner:
    return Runner(stack, tmp_path)


def test_the_metadata_is_what_github_takes() -> None:
    assert set(METADATA) <= {"name", "author", "description", "inputs", "outputs", "runs", "branding"}
    assert METADATA["name"]
    assert 0 < len(METADATA["description"]) <= 125
    assert set(METADATA["branding"]) == {"icon", "color"}
    assert METADATA["branding"]["color"] in {"white", "black", "yellow", "blue", "green", "orange", "red", "purple",
                                             "gray-dark"}  # fmt: skip
    for name, about in METADATA["inputs"].items():
        assert re.fullmatch(r"[a-z_][a-z0-9_-]*", name)
        assert set(about) <= {"description", "required", "default", "deprecationMessage"}
        assert about["description"]
        assert isinstance(about["required"], bool)
        assert isinstance(about.get("default", ""), str)
        assert about["required"] != ("default" in about)
    assert METADATA["runs"]["using"] == "composite"
    ids = set()
    for step in METADATA["runs"]["steps"]:
        assert set(step) <= {"id", "name", "if", "run", "shell", "env", "uses", "with", "working-directory",
                             "continue-on-error"}  # fmt: skip
        assert step["shell"]
        ids.add(step["id"])
    for about in METADATA["outputs"].values():
        assert about["description"]
        assert re.fullmatch(r"\$\{\{ steps\.(\w+)\.outputs\.[a-z-]+ \}\}", about["value"])[1] in ids  # type: ignore[index]


def test_no_input_gets_into_the_text_of_a_script() -> None:
    for step in METADATA["runs"]["steps"]:
        assert not EXPRESSION.search(step["run"])
        used = {EXPRESSION.fullmatch(value)[1] for value in step["env"].values()}  # type: ignore[index]
        assert used == {f"inputs.{name}" for name in METADATA["inputs"]} | {"github.action_path"}


async def test_commands_and_pings_of_a_workflow(runner: Runner, ours: Calls) -> None:
    workflow = new_id()
    ended = await runner.uses(
        workflow=workflow, stage="1", start=True, name="Install", run="echo installed\necho twice"
    )
    assert (ended.code, ended.out, ended.error) == (0, b"installed\ntwice\n", b"")
    ended = await runner.uses(workflow=workflow, stage="2", fields="rows=3\n\nartifact=dist/ and more\n")
    assert (ended.code, ended.out, ended.error) == (0, b"", b"")
    instance = runner.outputs["instance-id"]
    assert runner.outputs["workflow-status"] == "running"
    ended = await runner.uses(workflow=workflow, stage="3", final=True, status="success", instance=instance)
    assert (ended.code, runner.outputs["workflow-status"]) == (0, "completed")
    steps = (await ours.get(f"/api/instances/{instance}/timeline"))["timeline"]
    assert [step["stage_path"] for step in steps] == ["1", "1", "2", "3"]
    assert {step["agent_code"] for step in steps} == {"github-actions"}
    common = {
        "repository": "ada/engine",
        "commit": "abc123",
        "ref": "refs/heads/main",
        "job": "build",
        "url": "https://github.com/ada/engine/actions/runs/42",
    }
    assert steps[1]["payload"].items() >= (common | {"exit_code": 0, "output": "installed\ntwice\n"}).items()
    assert steps[2]["payload"] == common | {"rows": 3, "artifact": "dist/ and more"}


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("false | true", 1), ("false\necho ran", 1)])
async def test_a_command_that_fails_fails_the_step(runner: Runner, ours: Calls, command: str, code: int) -> None:
    pulse = new_pulse()
    ended = await runner.uses(pulse=pulse, create=True, period=86400, run=command, output=False)
    assert (ended.code, ended.out) == (code, b"")
    assert [ping["event"] for ping in await events(ours, pulse)] == ["start", "fail"]


async def test_runs_of_a_process_hook(runner: Runner, ours: Calls) -> None:
    hook = (await ours.post("/api/process-hooks", {"name": "CI", "expected_seconds": 60}, 201))["id"]
    assert (await runner.uses(process=hook, start=True)).code == 0
    run_id = runner.outputs["run-id"]
    assert (await runner.uses(process=hook, run_id=run_id, status="failure", message="no tests")).code == 0
    (told,) = (await ours.get(f"/api/process-hooks/{hook}/runs"))["runs"]
    assert (told["run_id"], told["status"], told["error"]) == (run_id, "failed", "no tests")


@pytest.mark.parametrize("strict", [False, True])
async def test_a_ping_that_is_refused_is_a_warning_unless_it_shall_be_more(runner: Runner, strict: bool) -> None:
    ended = await runner.uses(pulse="no-such-pulse", fail_on_error=strict)
    assert ended.code == (1 if strict else 0)
    kind = "error" if strict else "warning"
    assert ended.out.decode().startswith(f"::{kind}::pingpulse: no-such-pulse: 404: There is no pulse")
    assert ended.out.count(b"\n") == 1


async def test_wrong_inputs_fail_the_step(runner: Runner) -> None:
    ended = await runner.uses(workflow="w")
    assert (ended.code, ended.out[:9]) == (2, b"::error::")
    ended = await runner.uses(pulse="p", create="perhaps")
    assert (ended.code, ended.out) == (2, b"::error::PingPulse: create is true or false\n")


EVIL = "$(touch stolen)`touch stolen`'; touch stolen; \"\n::set-output name=x::y\n${{ touch stolen }} --json -"


@pytest.mark.parametrize("name", sorted(set(METADATA["inputs"]) - {"url", "key", "run"}))
async def test_inputs_are_never_run(runner: Runner, tmp_path: Path, name: str) -> None:
    target = {} if name in ("workflow", "stage", "pulse", "process") else {"pulse": "no-such-pulse"}
    ended = await runner.uses(**target, **{name.replace("-", "_"): EVIL})
    assert not list(tmp_path.rglob("stolen"))
    assert not [line for line in ended.out.decode().splitlines() if line.startswith("::set-output")]


def workflows_of_the_page() -> list[dict[str, Any]]:
    return [item for text in snippets("github-actions.md", "yaml") for item in [yaml.safe_load(text)]]


def steps_of(workflow: Any) -> list[dict[str, Any]]:
    if isinstance(workflow, list):
        return workflow
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


async def test_the_workflows_of_the_page(runner: Runner, stack: Stack, ours: Calls, tmp_path: Path) -> None:
    context = {
        "vars.PINGPULSE_URL": stack.url,
        "secrets.PINGPULSE_API_KEY": stack.key,
        "secrets.PINGPULSE_URL": f"{stack.url}/dhk/from_ci?key={stack.key}",
        "job.status": "success",
    }
    owner = "approve-wait --approver ada@example.com"
    for workflow in workflows_of_the_page():
        for step in steps_of(workflow):
            if "clients/github-action@" in step.get("uses", ""):
                given = {name: filled(as_text(value), context) for name, value in step["with"].items()}
                # The commands are examples, and the project they are run in is not there.
                given |= {"run": "echo done"} if "run" in given else {}
                ended = await runner.uses(**{name.replace("-", "_"): value for name, value in given.items()})
                assert (ended.code, ended.error) == (0, b""), ended
            elif "run" in step:
                # The account of the tests has no owner who could be asked.
                step["run"] = step["run"].replace("approve-wait", owner)
                ended = await run_step(step, context, tmp_path)
                assert ended.code == (3 if step["name"] == "Ask" else 0), ended
    (instance,) = (await ours.history("ci"))["recent_instances"]
    assert instance["status"] == "completed"
    assert [ping["event"] for ping in await events(ours, "nightly-build")] == ["start", "success"]
    assert set(await ours.get("/dhk/from_ci/tree")) == {"1"}


async def test_the_workflow_of_the_reference(stack: Stack, ours: Calls, tmp_path: Path) -> None:
    """Its steps append ?stagePath=1 to a secret that ends in ?key=…, as the page says."""
    secret = f"{stack.url}/dhk/ci_pipeline?key={stack.key}"
    context = {"secrets.PINGPULSE_URL": secret, "github.sha": "abc123"}
    for step in steps_of(yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())):
        if "PingPulse" in step.get("name", ""):
            ended = await run_step(step, context, tmp_path)
            assert ended.code == 0
            assert b'"status":"success"' in ended.out, ended
    (instance,) = (await ours.history("ci_pipeline"))["recent_instances"]
    assert instance["status"] == "completed"
    assert list(instance["stage_statuses"]) == ["1", "2", "3"]


async def test_a_question_mark_elsewhere_is_text(ours: Calls) -> None:
    workflow = new_id()
    said = f"key={ours.key}&stagePath=1&start=yes&stagename=why?&agent=key=a?b"
    assert (await ours.http.get(f"/dhk/{workflow}?{said}")).status_code == 200
    tree = await ours.get(f"/dhk/{workflow}/tree")
    assert tree["1"] == {"status": "healthy", "stage_name": "why?", "agent_code": "key=a?b"}
