#!/bin/bash
# What Spark's own images do when a pod starts, as far as a job notices: `driver` submits in client mode, `executor` runs the
# executor, both with the conf dirs first on the class path; anything else is run as it is.
set -e

class_path="$SPARK_HOME/jars/*"
[ -z "${SPARK_EXTRA_CLASSPATH:-}" ] || class_path="$class_path:$SPARK_EXTRA_CLASSPATH"
[ -z "${HADOOP_CONF_DIR+set}" ] || class_path="$HADOOP_CONF_DIR:$class_path"
class_path="${SPARK_CONF_DIR-$SPARK_HOME/conf}:$class_path:$PWD"

case "${1:-}" in
  driver)
    shift
    command=("$SPARK_HOME/bin/spark-submit"
      --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS"
      --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS"
      --deploy-mode client "$@") ;;
  executor)
    # Spark hands each JVM option in a variable of its own.
    options=()
    for name in "${!SPARK_JAVA_OPT_@}"; do options+=("${!name}"); done
    command=("$JAVA_HOME/bin/java" "${options[@]}" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" -cp "$class_path"
      org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend
      --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES"
      --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP"
      --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME") ;;
  *) exec "$@" ;;
esac
exec /usr/bin/tini -s -- "${command[@]}"
