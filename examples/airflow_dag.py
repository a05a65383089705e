"""Submits SparkPi with Hadoop's configuration in the driver and the executors, and a keytab in the driver.

Needs Airflow 3 with the providers apache-airflow-providers-apache-spark and apache-airflow-providers-cncf-kubernetes; and a connection
`spark` with the host k8s://https://API-SERVER:6443 and the extra {"namespace": "spark"}. That namespace has the service account `spark`,
the ConfigMap `hadoop-conf` and the Secret `keytab`.
"""

from datetime import datetime

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG


def annotations(role, requests):
    """The Spark properties that annotate the pods of a role: driver or executor."""
    prefix = f"spark.kubernetes.{role}.annotation.spark-operator.k8s.io"
    return {f"{prefix}/{key}": value for key, value in requests.items()}


with DAG(dag_id="spark_pi", schedule=None, start_date=datetime(2026, 1, 1), catchup=False):
    SparkSubmitOperator(
        task_id="pi",
        conn_id="spark",
        deploy_mode="cluster",
        java_class="org.apache.spark.examples.SparkPi",
        application="local:///opt/spark/examples/jars/spark-examples.jar",
        conf={
            "spark.kubernetes.container.image": "apache/spark:4.1.2",
            "spark.kubernetes.authenticate.driver.serviceAccountName": "spark",
            # Airflow's log masks properties with `secret` in their name.
            **annotations("driver", {"hadoopConfigMap": "hadoop-conf", "secret.keytab": "/mnt/keytab:mode=0440"}),
            **annotations("executor", {"hadoopConfigMap": "hadoop-conf"}),
        },
    )
