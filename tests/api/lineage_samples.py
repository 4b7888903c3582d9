"""Events of OpenLineage in the shapes in which tools send them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

Event = dict[str, Any]

BEGAN = datetime(2026, 1, 15, 2, tzinfo=UTC)
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
AIRFLOW = "https://github.com/apache/airflow/tree/providers-openlineage/2.7.0"
SPARK = "https://github.com/OpenLineage/OpenLineage/tree/1.40.0/integration/spark"
DBT = "https://github.com/OpenLineage/OpenLineage/tree/1.40.0/integration/dbt"


def new_run() -> str:
    return str(uuid4())


def new_job(name: str) -> str:
    """A job that no other test has."""
    return f"{name}_{uuid4().hex[:8]}"


def at(seconds: float) -> str:
    return (BEGAN + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def event(
    type_: str,
    seconds: float,
    run_id: str,
    job: str,
    *,
    namespace: str = "prod",
    producer: str = AIRFLOW,
    **facets: Any,
) -> Event:
    return {
        "eventType": type_,
        "eventTime": at(seconds),
        "producer": producer,
        "schemaURL": SCHEMA,
        "run": {"runId": run_id, "facets": facets},
        "job": {"namespace": namespace, "name": job, "facets": {}},
        "inputs": [],
        "outputs": [],
    }


def ref(run_id: str, job: str, namespace: str = "prod") -> dict[str, Any]:
    return {"run": {"runId": run_id}, "job": {"namespace": namespace, "name": job}}


def failure(message: str) -> dict[str, Any]:
    return {"message": message, "programmingLanguage": "python", "stackTrace": "Traceback …"}


class AirflowRun:
    """A DAG run as Airflow's provider tells of it: DAG and tasks, the tasks' parent and root is the DAG run."""

    def __init__(self, dag: str, namespace: str = "prod") -> None:
        self.dag, self.namespace = dag, namespace
        self.run_id = new_run()

    @property
    def workflow_id(self) -> str:
        return f"{self.namespace}.{self.dag}"

    def of_dag(self, type_: str, seconds: float, **facets: Any) -> Event:
        said = event(type_, seconds, self.run_id, self.dag, namespace=self.namespace, **facets)
        said["run"]["facets"]["nominalTime"] = {"nominalStartTime": at(-86_400), "nominalEndTime": at(0)}
        said["job"]["facets"]["jobType"] = {"integration": "AIRFLOW", "jobType": "DAG", "processingType": "BATCH"}
        return said

    def of_task(
        self, type_: str, seconds: float, task: str, run_id: str, map_index: int | None = None, **facets: Any
    ) -> Event:
        parent = {**ref(self.run_id, self.dag, self.namespace), "root": ref(self.run_id, self.dag, self.namespace)}
        instance = {"try_number": 1, "pool": "default_pool", "map_index": map_index}
        facets = {"parent": parent, "airflow": {"taskInstance": instance, "task": {"task_id": task}}, **facets}
        said = event(type_, seconds, run_id, f"{self.dag}.{task}", namespace=self.namespace, **facets)
        said["job"]["facets"]["jobType"] = {"integration": "AIRFLOW", "jobType": "TASK", "processingType": "BATCH"}
        return said

    def whole(self) -> list[Event]:
        """A run that went well, in the order of its times."""
        extract, load = new_run(), new_run()
        loaded = self.of_task("COMPLETE", 18, "warehouse.load", load)
        loaded["outputs"] = [{"namespace": "postgres://db:5432", "name": "public.orders", "facets": {}}]
        return [
            self.of_dag("START", 0),
            self.of_task("START", 1, "extract", extract),
            self.of_task("COMPLETE", 5.5, "extract", extract),
            self.of_task("START", 6, "warehouse.load", load),
            loaded,
            self.of_dag("COMPLETE", 20),
        ]


def spark_application(name: str, app: str, **facets: Any) -> list[Event]:
    """An application and two of its queries, as Spark's listener tells of them. Its `facets` may name a parent."""
    query, other = new_run(), new_run()
    of_app: dict[str, Any] = {
        "parent": {**ref(app, name), "root": facets["parent"]["root"]} if "parent" in facets else ref(app, name)
    }
    plan = {"plan": [{"class": "org.apache.spark.sql.catalyst.plans.logical.Project", "text": "x" * 150_000}]}
    ended = event("COMPLETE", 9, query, f"{name}.execute_insert_into.warehouse_orders", producer=SPARK, **of_app)
    ended["run"]["facets"]["spark.logicalPlan"] = plan
    return [
        event("START", 0, app, name, producer=SPARK, **facets),
        event("START", 2, query, f"{name}.execute_insert_into", producer=SPARK, **of_app),
        event("RUNNING", 5, query, f"{name}.execute_insert_into", producer=SPARK, **of_app),
        ended,
        event("START", 10, other, f"{name}.collect", producer=SPARK, **of_app),
        event("COMPLETE", 12, app, name, producer=SPARK, **facets),
    ]


def dbt_command(project: str, *, fails: bool = False) -> list[Event]:
    """`dbt-ol run`: the command, a model and a test."""
    command, model, test = new_run(), new_run(), new_run()
    job = f"dbt-run-{project}"
    parent: dict[str, Any] = {
        "parent": {**ref(command, job), "root": ref(command, job)},
        "dbt_version": {"version": "1.10.0"},
    }
    name = f"analytics.public.{project}.orders"
    ended = "FAIL" if fails else "COMPLETE"
    error: dict[str, Any] = {
        "errorMessage": {**failure("Got 3 results, configured to fail if != 0"), "programmingLanguage": "sql"}
    }
    return [
        event("START", 0, command, job, producer=DBT),
        event("START", 1, model, f"{name}.build.run", producer=DBT, **parent),
        event("COMPLETE", 3, model, f"{name}.build.run", producer=DBT, **parent),
        event("START", 3, test, f"{name}.build.test", producer=DBT, **parent),
        event(ended, 4, test, f"{name}.build.test", producer=DBT, **parent, **(error if fails else {})),
        event(ended, 5, command, job, producer=DBT, **(error if fails else {})),
    ]
