//! Real spark-submits, from PySpark's own distribution (`tests/tools/install spark`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::REPOSITORY;
use crate::cluster::{Cluster, Process, installed};

/// Options of a JVM that ends after seconds: the start takes less CPU time with them.
pub const SHORT_LIVED: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";

/// A Spark distribution.
pub struct Spark {
    home: PathBuf,
    version: &'static str,
}

impl Spark {
    /// One of the installed versions.
    pub fn new(version: &'static str) -> Self {
        Self { home: installed("spark", &[version]).join("pyspark"), version }
    }

    /// Submits SparkPi in cluster mode: makes a driver pod.
    pub fn submit(
        &self,
        cluster: &Cluster,
        namespace: &str,
        properties: &[(String, String)],
    ) -> Output {
        let mut arguments = vec![
            "--master".to_owned(),
            format!("k8s://{}", cluster.url()),
            "--deploy-mode=cluster".to_owned(),
            "--name=pi".to_owned(),
            "--class=org.apache.spark.examples.SparkPi".to_owned(),
        ];
        arguments.extend(conf("spark.kubernetes.authenticate.driver.serviceAccountName", "spark"));
        arguments.extend(conf(
            "spark.kubernetes.container.image",
            &format!("apache/spark:{}", self.version),
        ));
        arguments.extend(properties.iter().flat_map(|(key, value)| conf(key, value)));
        arguments.push("local:///opt/spark/examples/jars/spark-examples.jar".to_owned());
        self.submit_arguments(cluster, namespace, &arguments)
    }

    /// Submits with these arguments, into a namespace, without waiting for a driver that no node
    /// runs.
    pub fn submit_arguments(
        &self,
        cluster: &Cluster,
        namespace: &str,
        arguments: &[String],
    ) -> Output {
        let mut command = self.command(&cluster.kubeconfig());
        command
            .args(conf("spark.kubernetes.namespace", namespace))
            .args(conf("spark.kubernetes.submission.waitAppCompletion", "false"))
            .args(arguments);
        command.output().unwrap()
    }

    /// Starts an application in client mode, which asks for executor pods and waits for them until
    /// the handle is dropped.
    pub fn start_client(
        &self,
        cluster: &Cluster,
        namespace: &str,
        directory: &Path,
        properties: &[(String, String)],
    ) -> Process {
        let program = directory.join("job.py");
        fs::write(
            &program,
            "from pyspark import SparkContext\nSparkContext().parallelize(range(2), 2).count()\n",
        )
        .unwrap();
        let mut command = self.command(&cluster.kubeconfig());
        command
            // It is killed, and would leave its own directory behind.
            .env("SPARK_LOCAL_DIRS", directory)
            .args([
                "--master",
                &format!("k8s://{}", cluster.url()),
                "--deploy-mode",
                "client",
                "--name",
                "pi",
            ])
            .args(conf("spark.driver.host", "127.0.0.1"))
            .args(conf("spark.ui.enabled", "false"))
            .args(conf("spark.executor.instances", "1"))
            .args(conf(
                "spark.kubernetes.container.image",
                &format!("apache/spark:{}", self.version),
            ))
            .args(conf("spark.kubernetes.namespace", namespace));
        for (key, value) in properties {
            command.args(conf(key, value));
        }
        // `exec`s into Java, so that ending the handle's process ends Spark.
        Process::start(command.arg(program), directory.join("client.log").to_str().unwrap())
    }

    /// `spark-submit`, for an API server.
    pub fn command(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(self.home.join("bin/spark-submit"));
        command
            .env("SPARK_HOME", &self.home)
            .env("KUBECONFIG", kubeconfig)
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            // Spark's client logs the API server's warnings at DEBUG only: as users are told to see
            // them.
            .env(
                "SPARK_SUBMIT_OPTS",
                format!(
                    "{SHORT_LIVED} -Dlog4j2.configurationFile=file:{REPOSITORY}/examples/spark-submit-log4j2.properties"
                ),
            )
            .env_remove("SPARK_CONF_DIR")
            .env_remove("HADOOP_CONF_DIR")
            .stdin(Stdio::null());
        command
    }
}

/// A property as an option of `spark-submit`.
pub fn conf(key: &str, value: &str) -> [String; 2] {
    ["--conf".to_owned(), format!("{key}={value}")]
}
