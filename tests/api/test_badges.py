"""Badges: pictures and data that need no key."""

from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.badges import HEIGHT, Badge, badge_of, draw
from domain.pulses import PulseStatus
from tests.api.calls import Calls
from tests.api.test_errors import fields, problem
from tests.domain.builders import properties

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
async def anybody(quick_gateway: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=quick_gateway) as client:
        yield client


async def create(calls: Calls, **rules: Any) -> tuple[str, str, str]:
    """A pulse's id, and the paths of its badges."""
    pulse = await calls.post("/api/pulses", {"name": "Backup", "period_seconds": 3600, **rules}, 201)
    svg, json = (httpx.URL(pulse[name]).path for name in ("badge_url", "badge_json_url"))
    return pulse["id"], svg, json


def texts(svg: str) -> list[str | None]:
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


async def test_a_badge_follows_its_pulse(ours: Calls, anybody: httpx.AsyncClient) -> None:
    pulse_id, svg, json = await create(ours)
    for path, status, color in (
        (None, "new", "lightgrey"),
        (f"/hbk/{pulse_id}", "up", "brightgreen"),
        (f"/hbk/{pulse_id}/fail", "down", "red"),
        (f"/api/pulses/{pulse_id}/pause", "paused", "lightgrey"),
    ):
        if path is not None:
            await ours.post(path, {})
        picture, data = await anybody.get(svg), await anybody.get(json)
        assert picture.headers["content-type"].startswith("image/svg+xml")
        assert texts(picture.text) == ["Backup", status]
        assert data.json() == {"schemaVersion": 1, "label": "Backup", "message": status, "color": color}
        assert {answer.headers["cache-control"] for answer in (picture, data)} == {"no-cache"}


async def test_a_label_of_ones_own(ours: Calls, anybody: httpx.AsyncClient) -> None:
    _, svg, json = await create(ours, name='<script>"&')
    assert texts((await anybody.get(svg)).text) == ['<script>"&', "new"]
    assert texts((await anybody.get(svg, params={"label": "</text>"})).text) == ["</text>", "new"]
    assert texts((await anybody.get(svg, params={"label": ""})).text) == ["new"]
    assert (await anybody.get(json, params={"label": "x"})).json()["label"] == "x"
    for label in ("x" * 101, "a\x00"):
        assert fields(problem(await anybody.get(svg, params={"label": label}), 400, "invalid_request")) == ["label"]


async def test_nobody_guesses_a_badge(ours: Calls, anybody: httpx.AsyncClient) -> None:
    pulse_id, svg, json = await create(ours)
    for path in (f"/badge/{pulse_id}.svg", f"/badge/{pulse_id}.json", svg[:-5] + ".svg", "/badge/.svg", "/badge/a"):
        problem(await anybody.get(path), 404, "not_found")
    await ours.http.delete(f"/api/pulses/{pulse_id}")
    for path in (svg, json):
        problem(await anybody.get(path), 404, "not_found")


@pytest.mark.parametrize("status", list(PulseStatus))
def test_every_status_has_a_badge(status: PulseStatus) -> None:
    assert texts(draw(badge_of("x", status))) == ["x", status.value]


@properties
@given(st.text(), st.text())
def test_whatever_it_says_it_is_well_formed(label: str, message: str) -> None:
    picture = ElementTree.fromstring(draw(Badge(label, message, "red")).encode())
    box, *_ = picture.iter(f"{SVG}rect")
    assert (picture.get("width"), picture.get("height")) == (box.get("width"), str(HEIGHT))
    assert len(list(picture.iter(f"{SVG}text"))) == bool(label) + bool(message)


def test_wider_texts_get_wider_badges() -> None:
    widths = [
        int(ElementTree.fromstring(draw(Badge(label, "up", "red"))).attrib["width"])
        for label in ("", "iii", "abc", "MMM", "日本語", "abcdefgh")
    ]
    assert widths == sorted(set(widths))
