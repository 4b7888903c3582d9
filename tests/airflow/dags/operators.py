# mypy: ignore-errors
"""Operators: templates, with and without the context, keys of their own, static and strict workflows, heartbeats."""

import os
from datetime import UTC, datetime

from airflow import DAG
from airflow.operators.empty import EmptyOperator
from airflow.operators.python import PythonOperator
from pingpulse_airflow import PingPulseHook, PingPulseOperator, pingpulse_success
from pingpulse_airflow.operators.pingpulse import PingPulseHeartbeatOperator

DIRECT = {"api_key": os.environ["OWN_KEY"], "base_url": os.environ["OWN_URL"] + "/", "pingpulse_conn_id": "nowhere"}
ONCE = {"schedule": "@once", "start_date": datetime(2026, 1, 1, tzinfo=UTC), "is_paused_upon_creation": False}


def test_connections() -> None:
    for hook in (PingPulseHook(), PingPulseHook(**DIRECT)):
        is_good, message = hook.test_connection()
        if not is_good:
            raise RuntimeError(message)


with DAG("operators", params={"stage": "2.1"}, **ONCE):
    test = PythonOperator(task_id="test", python_callable=test_connections)
    first = PingPulseOperator(
        task_id="first",
        workflow_id="{{ dag.dag_id }}",
        stage_path="1",
        start=True,
        payload={"duration": "{{ ti.duration }}", "rows": 1000, "cost_usd": 0.25},
    )
    second = PingPulseOperator(
        task_id="second", workflow_id="operators", stage_path="{{ params.stage }}", include_context=False, **DIRECT
    )
    last = PingPulseOperator(
        task_id="last",
        workflow_id="operators",
        stage_path="3",
        final=True,
        payload={"instance_id": "{{ ti.xcom_pull('first')['instance_id'] }}", "status": "success"},
    )
    alive = PingPulseHeartbeatOperator(
        task_id="alive", monitor_id="{{ dag.dag_id }}-pulse", payload={"rows": 1000, "duration": 1.5}
    )
    dead = PingPulseHeartbeatOperator(
        task_id="dead", monitor_id="dead-pulse", payload={"status": "failed", "error": "no rows"}, **DIRECT
    )
    test >> first >> second >> last >> alive >> dead

with DAG("strict_operators", **ONCE):
    stages = [
        PingPulseOperator(
            task_id=f"stage_{stage}",
            workflow_id="strict_operators",
            stage_path=str(stage),
            workflow_type="static",
            payload={"agent": "airflow"},
        )
        for stage in (1, 2)
    ]
    third = EmptyOperator(
        task_id="stage_3",
        on_success_callback=pingpulse_success(
            "strict_operators", "3", workflow_type="static", extra_payload={"agent": "airflow"}
        ),
    )
    stages[0] >> stages[1] >> third
