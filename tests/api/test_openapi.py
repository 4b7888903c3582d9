"""The OpenAPI page is true: what it offers works, and errors are the ones it names."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.result import Ok

from api.app import create_app
from api.errors import Problem
from config.settings import Settings
from tests.api.calls import Calls
from tests.support.stack import SECRET, Stack

EXAMPLES = 15


async def test_the_pages_are_there(ours: Calls) -> None:
    page = await ours.http.get("/docs")
    assert page.status_code == 200
    assert "/openapi.json" in page.text
    errors = (await ours.http.get("/docs/errors")).text
    for code in documented_codes(await ours.get("/openapi.json")):
        assert f'id="{code}"' in errors, code


def documented_codes(document: dict[str, Any]) -> set[str]:
    return {
        code
        for operations in document["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
        for code in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }


async def test_every_route_documents_its_errors_with_examples(ours: Calls) -> None:
    document = await ours.get("/openapi.json")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            errors = {status: item for status, item in operation["responses"].items() if status >= "4"}
            assert "500" in errors
            if path == "/health":
                continue
            if path != "/metrics" and not path.startswith(("/badge/", "/status/")):
                assert {"400", "401", "429", "503"} <= set(errors), (method, path)
            names_something = "{" in path or path == "/api/instances/compare" or path.startswith("/api/v1/ingest/")
            assert ("404" in errors) == names_something, (method, path)
            for status, response in errors.items():
                examples = response["content"]["application/problem+json"]["examples"]
                for code, example in examples.items():
                    Problem.model_validate(example["value"])
                    assert (example["value"]["code"], str(example["value"]["status"])) == (code, status)
    pings = document["paths"]["/dhk/{workflow_id}"]["post"]["responses"]
    codes = {
        code
        for item in pings.values()
        for code in item["content"].get("application/problem+json", {}).get("examples", ())
    }
    assert codes >= {"stage_missed", "stage_out_of_order", "agent_required", "no_open_instance", "instance_closed"}
    assert codes >= {"payload_too_large", "conflict", "forbidden", "not_found"}


def list_operations() -> list[Any]:
    """From the app, because tests are collected before any server has started."""
    nowhere = SecretStr("postgresql://nobody@127.0.0.1/nothing")
    app = create_app(Settings(_env_file=None, database_url=nowhere, secret_key=SecretStr(SECRET)))
    results = list(schemathesis.openapi.from_dict(app.openapi()).get_all_operations())
    operations = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(operations) == len(results)
    return operations


@pytest.mark.parametrize("operation", list_operations(), ids=lambda operation: operation.label)
def test_nothing_that_fits_or_breaks_the_schema_breaks_us(
    operation: "APIOperation[Any, Any, Any, Any]", quick_gateway: str, stack: Stack
) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)))
    def check(case: "Case[Any]") -> None:
        response = case.call(base_url=quick_gateway, headers={"X-API-Key": stack.key})
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            assert response.headers["content-type"] == ["application/problem+json"]
            Problem.model_validate(response.json())

    check()
