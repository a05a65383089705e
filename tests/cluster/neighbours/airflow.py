"""Stands for Airflow's operator: the part of SparkSubmitHook._build_spark_submit_command that a recipe's arguments reach."""

import os
import subprocess


class SparkSubmitOperator:
    def __init__(self, *, task_id, conn_id, deploy_mode, java_class, application, conf):
        command = ["spark-submit", "--master", os.environ["MASTER"]]
        for key, value in conf.items():
            command += ["--conf", f"{key}={value}"]
        command += ["--class", java_class, "--name", task_id, "--deploy-mode", deploy_mode, application]
        subprocess.run(command, check=True)
