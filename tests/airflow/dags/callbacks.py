# mypy: ignore-errors
"""Callbacks of tasks and of DAGs, on dynamic and static workflows, for good ends and bad ones."""

import os
from datetime import UTC, datetime, timedelta

from airflow import DAG
from airflow.operators.empty import EmptyOperator
from airflow.operators.python import PythonOperator
from pingpulse_airflow import PingPulseOperator, pingpulse_callback, pingpulse_failure, pingpulse_success
from pingpulse_airflow.callbacks import pingpulse_dag_callbacks

DIRECT = {"api_key": os.environ["OWN_KEY"], "base_url": os.environ["OWN_URL"], "pingpulse_conn_id": "nowhere"}
ONCE = {"schedule": "@once", "start_date": datetime(2026, 1, 1, tzinfo=UTC), "is_paused_upon_creation": False}


def fail() -> None:
    raise RuntimeError("no connection to the database")


def fail_at_first(ti) -> None:
    if ti.try_number == 1:
        fail()


def of_the_dag(workflow_id: str, **where) -> dict:
    callbacks = pingpulse_dag_callbacks(workflow_id, **where)
    return {"on_success_callback": callbacks["on_success"], "on_failure_callback": callbacks["on_failure"]}


def of_the_task(workflow_id: str, stage: str, *, start: bool = False, final: bool = False, **where) -> dict:
    return {
        "task_id": f"stage_{stage}",
        "on_success_callback": pingpulse_success(workflow_id, stage, start=start, final=final, **where),
        "on_failure_callback": pingpulse_failure(workflow_id, stage, start=start, **where),
    }


with DAG("callbacks", **of_the_dag("callbacks"), **ONCE):
    (
        PythonOperator(python_callable=lambda: None, **of_the_task("callbacks", "1", start=True))
        >> PythonOperator(
            python_callable=fail_at_first,
            retries=1,
            retry_delay=timedelta(seconds=1),
            on_retry_callback=pingpulse_callback("callbacks", "2", status="up_for_retry"),
            **of_the_task("callbacks", "2", extra_payload={"team": "data", "model_id": "gpt-4o"}, **DIRECT),
        )
        >> PythonOperator(python_callable=lambda: None, **of_the_task("callbacks", "3", final=True))
    )

with DAG("failing_callbacks", **of_the_dag("failing_callbacks"), **ONCE):
    (
        PythonOperator(python_callable=lambda: None, **of_the_task("failing_callbacks", "1", start=True))
        >> PythonOperator(python_callable=fail, **of_the_task("failing_callbacks", "2"))
        >> EmptyOperator(task_id="never")
    )

with DAG("failing_at_once", **of_the_dag("failing_at_once"), **ONCE):
    PythonOperator(python_callable=fail, **of_the_task("failing_at_once", "1", start=True))

STATIC = {"workflow_type": "static"}

with DAG("static_callbacks", **of_the_dag("static_callbacks", **STATIC, **DIRECT), **ONCE):
    (
        PythonOperator(python_callable=lambda: None, **of_the_task("static_callbacks", "1", **STATIC))
        >> PythonOperator(python_callable=lambda: None, **of_the_task("static_callbacks", "2", final=True, **STATIC))
    )

with DAG("static_operators", **ONCE):
    (
        PingPulseOperator(task_id="stage_1", workflow_id="static_operators", stage_path="1", **STATIC)
        >> PingPulseOperator(task_id="stage_2", workflow_id="static_operators", stage_path="2", final=True, **STATIC)
    )

with DAG("failing_static_callbacks", **of_the_dag("failing_static_callbacks", **STATIC), **ONCE):
    (
        PythonOperator(python_callable=lambda: None, **of_the_task("failing_static_callbacks", "1", **STATIC))
        >> PythonOperator(
            task_id="stage_2",
            python_callable=fail,
            on_failure_callback=pingpulse_callback("failing_static_callbacks", "2", status="failed", **STATIC),
        )
    )

# Nothing but the callback of the DAG tells that it failed.
with DAG("failing_silently", **of_the_dag("failing_silently"), **ONCE):
    (
        PingPulseOperator(task_id="opened", workflow_id="failing_silently", stage_path="1", start=True)
        >> PythonOperator(task_id="fails", python_callable=fail)
        >> PingPulseOperator(task_id="never", workflow_id="failing_silently", stage_path="2", final=True)
    )
