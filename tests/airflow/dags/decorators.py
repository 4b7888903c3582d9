# mypy: ignore-errors
"""Decorated tasks that succeed, fail, and fail at first."""

import os
from datetime import UTC, datetime, timedelta

from airflow import DAG
from airflow.operators.python import PythonOperator
from pingpulse_airflow import PingPulseOperator, pingpulse_task
from pingpulse_airflow.callbacks import pingpulse_dag_callbacks
from pingpulse_airflow.decorators import pingpulse_python_callable

DIRECT = {"api_key": os.environ["OWN_KEY"], "base_url": os.environ["OWN_URL"], "pingpulse_conn_id": "nowhere"}
ONCE = {"schedule": "@once", "start_date": datetime(2026, 1, 1, tzinfo=UTC), "is_paused_upon_creation": False}

with DAG("decorators", **ONCE):

    @pingpulse_task("decorators", "1", start=True, multiple_outputs=False)
    def extract():
        return {"records": 1000, "status": "failed", "nested": {"deep": [1, None, "é"]}}

    @pingpulse_task("decorators", "2", include_duration=False, **DIRECT)
    def transform(extracted):
        assert extracted["records"] == 1000

    @pingpulse_python_callable("decorators", "3", final=True)
    def load(**context):
        return {"try": context["ti"].try_number}

    transform(extract()) >> PythonOperator(task_id="load", python_callable=load)

with DAG("static_decorators", **ONCE):

    @pingpulse_task("static_decorators", "1", workflow_type="static")
    def one():
        return "not a dict"

    @pingpulse_python_callable("static_decorators", "2", workflow_type="static")
    def two():
        return None

    one() >> PythonOperator(task_id="two", python_callable=two)

with DAG("retrying_decorators", **ONCE):
    opened = PingPulseOperator(task_id="opened", workflow_id="retrying_decorators", stage_path="1", start=True)

    @pingpulse_task(
        "retrying_decorators",
        "2",
        final=True,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
    def moody(ti=None):
        if ti.try_number < 3:
            raise ValueError(f"try {ti.try_number}")
        return {"try": ti.try_number}

    opened >> moody()

with DAG("reopening_decorators", **ONCE):

    @pingpulse_task("reopening_decorators", "1", start=True, retries=1, retry_delay=timedelta(seconds=1))
    def opener(ti=None):
        if ti.try_number == 1:
            raise ValueError("not yet")

    (
        opener()
        >> PingPulseOperator(task_id="next", workflow_id="reopening_decorators", stage_path="2")
        >> PingPulseOperator(task_id="last", workflow_id="reopening_decorators", stage_path="3", final=True)
    )

of_the_dag = pingpulse_dag_callbacks("failing_decorators", **DIRECT)

with DAG("failing_decorators", on_failure_callback=of_the_dag["on_failure"], **ONCE):

    @pingpulse_task("failing_decorators", "1", start=True)
    def good():
        return None

    @pingpulse_task("failing_decorators", "2", final=True)
    def bad():
        raise RuntimeError("the disk is full " * 60)

    @pingpulse_task("failing_decorators", "4", ping_on_failure=False, trigger_rule="all_done")
    def silent():
        raise RuntimeError("nobody is told")

    @pingpulse_python_callable("failing_decorators", "3")
    def bad_as_well(**context):
        raise KeyError("customers")

    (
        good()
        >> bad()
        >> silent()
        >> PythonOperator(task_id="bad_as_well", python_callable=bad_as_well, trigger_rule="all_done")
    )
