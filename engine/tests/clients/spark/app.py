"""Spark Structured Streaming as a judge of a broker. Rust starts it: judge_spark.rs, judge_delays.rs.

    python app.py copy    --jars J --bootstrap B --from T --to T --checkpoint D     copies a topic until it is killed
    python app.py finish  --jars J --bootstrap B --from T --to T --checkpoint D     copies what is left, then ends
    python app.py since   --jars J --bootstrap B --from T --at MS                   the records since a time, in a batch
    python app.py delays  --jars J --bootstrap B --from T --to T                    delays per carrier, from both topics

Several commands are done one after the other. Prints what it read, one line for each record, and at last "end".
"""
import argparse
import json

from pyspark.sql import SparkSession
from pyspark.sql import functions as f


def session(jars):
    return (
        SparkSession.builder.master("local[1]")
        .config("spark.jars", jars)
        .config("spark.driver.memory", "512m")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.log.level", "ERROR")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )


def copy(spark, args, finish):
    """Every record with its key and headers, its value in capitals, and one header more."""
    source = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", args.bootstrap)
        .option("subscribe", getattr(args, "from"))
        .option("startingOffsets", "earliest")
        .option("includeHeaders", "true")
        .load()
    )
    by = f.struct(f.lit("by").alias("key"), f.lit("spark").cast("binary").alias("value"))
    out = source.select(
        "key",
        f.upper(f.col("value").cast("string")).alias("value"),
        f.concat(f.coalesce(f.col("headers"), f.array()), f.array(by)).alias("headers"),
    )
    writer = (
        out.writeStream.format("kafka")
        .option("kafka.bootstrap.servers", args.bootstrap)
        .option("topic", args.to)
        .option("checkpointLocation", args.checkpoint)
    )
    # Either all that is there, or for ever in small steps.
    writer = writer.trigger(availableNow=True) if finish else writer.trigger(processingTime="200 milliseconds")
    writer.start().awaitTermination()


def since(spark, args):
    """The whole topic in a batch, from a time on."""
    topic = getattr(args, "from")
    at = {topic: {str(partition): args.at for partition in range(args.partitions)}}
    rows = (
        spark.read.format("kafka")
        .option("kafka.bootstrap.servers", args.bootstrap)
        .option("subscribe", topic)
        .option("startingOffsetsByTimestamp", json.dumps(at))
        .option("endingOffsets", "latest")
        .option("includeHeaders", "true")
        .load()
        .withColumn("at", f.unix_millis("timestamp"))
        .orderBy("partition", "offset")
        .collect()
    )
    for row in rows:
        headers = ",".join(f"{h.key}={bytes(h.value).decode()}" for h in row.headers or [])
        print("row", row.partition, row.offset, row.at, row.key.decode(), headers, row.value.decode(), sep="\t")


def delays(spark, args):
    """Departure delays per carrier: the last a Streams job said, and computed anew from the flights."""

    def read(topic):
        return (
            spark.read.format("kafka")
            .option("kafka.bootstrap.servers", args.bootstrap)
            .option("subscribe", topic)
            .option("kafka.isolation.level", "read_committed")
            .load()
            .select(f.col("key").cast("string").alias("carrier"), f.col("value").cast("string"), "offset")
        )

    last = read(args.to).groupBy("carrier").agg(f.max_by("value", "offset").alias("sums"))
    for row in last.orderBy("carrier").collect():
        print("streams", row.carrier, row.sums)
    minutes = f.split("value", ",").getItem(5)
    flights = read(getattr(args, "from")).withColumn("text", minutes).where("text <> 'NA'")
    flights = flights.withColumn("minutes", f.col("text").cast("long"))
    sums = flights.groupBy("carrier").agg(
        f.count("*").alias("departed"),
        f.sum(f.when(f.col("minutes") > 0, 1).otherwise(0)).alias("late"),
        f.sum("minutes").alias("minutes"),
    )
    for row in sums.orderBy("carrier").collect():
        print("spark", row.carrier, row.departed, row.late, row.minutes)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("commands", nargs="+", choices=("copy", "finish", "since", "delays"))
    for name in ("jars", "bootstrap", "from", "to", "checkpoint"):
        parser.add_argument("--" + name)
    parser.add_argument("--at", type=int)
    parser.add_argument("--partitions", type=int, default=3)
    args = parser.parse_args()
    spark = session(args.jars)
    for command in args.commands:
        if command in ("copy", "finish"):
            copy(spark, args, command == "finish")
        elif command == "since":
            since(spark, args)
        else:
            delays(spark, args)
    print("end", flush=True)
    spark.stop()


main()
