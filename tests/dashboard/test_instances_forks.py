"""Forks and reruns as they are made on a page, and the tree that comes of them."""

import pytest

from api.dashboard.forms import Form
from api.dashboard.instance_forks import in_tree_order, modifications_in
from domain.errors import InvalidRequest
from storage.instances import Instance
from tests.api.calls import Calls
from tests.dashboard.instance_calls import agents_at_work
from tests.support.dashboard import Site


def changes(**texts: str) -> Form:
    return Form((f"payload_modifications.{path}", text) for path, text in texts.items())


def test_changes_are_json_objects() -> None:
    given = changes(a='{"x": 1}', b="  ", c='{"y": null}')
    assert modifications_in(given) == {"a": {"x": 1}, "c": {"y": None}}


@pytest.mark.parametrize("text", ["{", "[1]", "1", '"x"', "{'a': 1}", '{"a": NaN}', "[" * 100_000, "null"])
def test_what_is_none_is_told_at_its_field(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        modifications_in(changes(a=text, b='{"fine": true}'))
    assert [field.field for field in refused.value.fields] == ["payload_modifications.a"]


def test_a_tree_is_in_order_and_who_has_no_parent_here_is_at_its_top() -> None:
    rows = [
        Instance(id=one, parent_id=parent)
        for one, parent in (("a", None), ("b", "a"), ("c", "a"), ("d", "b"), ("e", "elsewhere"), ("f", "d"))
    ]
    assert [(row.id, depth) for row, depth in in_tree_order(rows)] == [
        ("a", 0),
        ("b", 1),
        ("d", 2),
        ("f", 3),
        ("c", 1),
        ("e", 0),
    ]


async def test_a_fork_is_made_with_another_payload_and_says_how_to_go_on(site: Site, calls: Calls) -> None:
    workflow_id, instance_id = await agents_at_work(calls)
    address = f"/instances/{instance_id}/go-on"
    screen = await site.open(f"{address}?stage=2.1")
    assert '"lines": 12' in screen.text
    made = await site.submit(screen, address, payload_modifications__2__1='{"lines": 99, "cost_usd": null}')
    assert made.said.startswith("The fork was made")
    forked_id = made.path.split("/")[2].split("?")[0]
    forked = await calls.instance(forked_id)
    assert (forked["parent_id"], forked["fork_from_stage"], list(forked["stage_statuses"])) == (
        instance_id,
        "2.1",
        ["1", "2.1"],
    )
    assert "What was inherited is pale" in made.text
    assert f"/dhk/{workflow_id}?stagePath=3&instance_id={forked_id}" in made.text
    assert '"lines": 99' in (await site.open(f"/instances/{forked_id}/steps/1")).text
    assert made.links["Compare the two"] == f"/compare?a={instance_id}&b={forked_id}"


async def test_fields_are_added_without_losing_what_was_written(site: Site, calls: Calls) -> None:
    _, instance_id = await agents_at_work(calls)
    address = f"/instances/{instance_id}/go-on"
    screen = await site.open(f"{address}?stage=2.1")
    written = '{"half": '
    more = await site.submit(screen, address, payload_modifications__2__1=written, more="1", add="yes")
    assert more.status == 200
    areas = {area["name"]: area.get_text().removeprefix("\n") for area in more.main.select("textarea")}
    assert areas == {"payload_modifications.2.1": written, "payload_modifications.1": ""}
    refused = await site.submit(more, address)
    assert refused.status == 400
    assert "is not valid JSON (line 1, column" in refused.text
    wrong = refused.form(address).select_one("[aria-invalid]")
    assert wrong is not None
    assert (wrong["name"], wrong.get_text().removeprefix("\n")) == ("payload_modifications.2.1", written)


async def test_a_change_that_the_fork_does_not_inherit_is_told_at_its_field(site: Site, calls: Calls) -> None:
    _, instance_id = await agents_at_work(calls)
    address = f"/instances/{instance_id}/go-on"
    screen = await site.open(f"{address}?stage=2.2")
    refused = await site.submit(screen, address, fork_from_stage="1", payload_modifications__2__2='{"x": 1}')
    assert refused.status == 400
    assert "came after the last ping of stage 1" in refused.text
    chosen = refused.form(address).select_one("option[selected]")
    assert chosen is not None
    assert chosen["value"] == "1"
    unknown = await site.submit(screen, address, fork_from_stage="77")
    assert (unknown.status, "was not executed" in unknown.text) == (400, True)


async def test_a_rerun_waits_with_its_inputs(site: Site, calls: Calls) -> None:
    _, instance_id = await agents_at_work(calls)
    address = f"/instances/{instance_id}/go-on"
    screen = await site.open(f"{address}?stage=1")
    made = await site.submit(screen, address, how="rerun", payload_modifications__1='{"again": true}')
    assert made.said.startswith("The rerun was made")
    rerun_id = made.path.split("/")[2].split("?")[0]
    assert made.links[f"/api/instances/{rerun_id}/inputs"] == f"/api/instances/{rerun_id}/inputs"
    inputs = (await calls.get(f"/api/instances/{rerun_id}/inputs"))["inputs"]
    assert (inputs["1"]["payload"]["again"], inputs["1"]["is_modified"]) == (True, True)
    assert "rerun" in made.text


async def test_nothing_can_be_made_of_what_has_no_steps(site: Site, calls: Calls) -> None:
    _, instance_id = await calls.open()
    made = await calls.post(f"/api/instances/{instance_id}/rerun", {}, 201)
    screen = await site.open(f"/instances/{made['new_instance_id']}/go-on")
    assert "Nothing to go on from yet" in screen.text


async def test_the_lineage_is_a_tree_with_what_each_cost(site: Site, calls: Calls) -> None:
    workflow_id, instance_id = await agents_at_work(calls)
    fork = await calls.post(f"/api/instances/{instance_id}/fork", {"fork_from_stage": "1"}, 201)
    fork_id = fork["forked_instance_id"]
    await calls.post(f"/dhk/{workflow_id}", {"cost_usd": 0.5}, stagePath="2", instance_id=fork_id)
    deeper = await calls.post(f"/api/instances/{fork_id}/fork", {"fork_from_stage": "2"}, 201)
    rerun = await calls.post(f"/api/instances/{instance_id}/rerun", {}, 201)
    screen = await site.open(f"/instances/{fork_id}/lineage")
    items = screen.main.select(".lineage li")
    assert [(item["class"][0], item.select_one("code").get_text()) for item in items] == [  # type: ignore[union-attr]
        ("l0", instance_id),
        ("l1", fork_id),
        ("l2", deeper["forked_instance_id"]),
        ("l1", rerun["new_instance_id"]),
    ]
    texts = [" ".join(item.get_text(" ").split()) for item in items]
    assert "$0.35" in texts[0]
    assert f"Fork of {instance_id} from stage 1" in texts[1]
    assert "$0.50 of its own" in texts[1]
    assert f"Rerun of {instance_id}" in texts[3]
    compare = items[1].select_one("a.button")
    assert compare is not None
    assert compare["href"] == f"/compare?a={instance_id}&b={fork_id}"
    alone = await site.open(f"/instances/{(await calls.open())[1]}/lineage")
    assert "Nothing was made of this instance yet" in alone.text


async def test_forms_of_other_sites_and_of_nobody_do_nothing(site: Site, calls: Calls) -> None:
    _, instance_id = await agents_at_work(calls)
    address = f"/instances/{instance_id}/go-on"
    assert (await site.post(address, [("how", "rerun")])).status == 403
    lineage = await calls.get(f"/api/instances/{instance_id}/lineage")
    assert len(lineage["instances"]) == 1
