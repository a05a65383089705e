"""The Spark job of the node tests: says what its driver and an executor see, as one line `REPORT {"driver": …, "executor": …}`.

    job.py PATH,… [URL]

Each: the environment, user and group, what is at each PATH, and what Python and the JVM get from the URL. The driver also says what Hadoop's Configuration and Spark make
of it, and the executor from where its JVM takes the files of conf dirs.
"""

import json
import os
import sys
import urllib.request

from pyspark import SparkFiles
from pyspark.sql import SparkSession

RESOURCES = ["core-site.xml", "hive-site.xml", "log4j2.properties"]


def show(path):
    """A file as its text, or as `hex:…` where it has none; a directory as its files; what cannot be read as the reason."""
    try:
        if os.path.isdir(path):
            return {name: show(os.path.join(path, name)) for name in sorted(os.listdir(path)) if not name.startswith("..")}
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        return "%s: %s" % (type(error).__name__, error.strerror)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "hex:" + content.hex()


def report(paths, url):
    """Also runs in executors, to which pickle brings it with what it uses of this file."""
    seen = {
        "env": dict(os.environ),
        "ids": "%d:%d" % (os.getuid(), os.getgid()),
        "modes": {path: "%04o" % (os.stat(path).st_mode & 0o7777) for path in paths if os.path.exists(path)},
        "files": {path: show(path) for path in paths},
    }
    if url:
        seen["fetched"] = {
            "python": urllib.request.urlopen(url, timeout=10).read().decode(),
            # The driver's JVM fetched it for addFile, an executor's before its first task.
            "jvm": show(SparkFiles.get(os.path.basename(url))),
        }
    return seen


def main():
    paths = [path for path in sys.argv[1].split(",") if path]
    url = sys.argv[2] if len(sys.argv) > 2 else None
    spark = SparkSession.builder.getOrCreate()
    context = spark.sparkContext
    if url:
        context.addFile(url)
    driver = report(paths, url)
    hadoop = context._jvm.org.apache.hadoop.conf.Configuration()
    driver["hadoop"] = {name: hadoop.get(name) for name in ["fs.defaultFS", "test.core"]}
    driver["conf"] = dict(context.getConf().getAll())
    driver["warehouse"] = spark.conf.get("spark.sql.warehouse.dir")
    executor = context.parallelize([0], 1).map(lambda _: report(paths, url)).first()
    # A range, unlike literals, is computed by an executor, and so is what is called for each of its rows.
    calls = ["java_method('java.lang.ClassLoader', 'getSystemResource', '%s')" % name for name in RESOURCES]
    executor["resources"] = dict(zip(RESOURCES, spark.range(1).selectExpr(*calls).first()))
    print("REPORT " + json.dumps({"driver": driver, "executor": executor}), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
