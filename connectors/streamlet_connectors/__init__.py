"""Connectors: Kafka, files, a generator and print; and how to write your own.

Import each by its module: `from streamlet_connectors.kafka import KafkaSource`.  All options are in the docstring of
each class: `streamlet help KafkaSource`.

    kafka.KafkaSource (exactly-once)
        Partitions are splits owned by the job.  `start=` earliest, latest, a time or offsets, resolved once;
        `stop="latest"` for a bounded run.  `null_values=` and `on_bad_record=` say what to do with what cannot be read:
        with an `OutputTag[BadRecord]` it goes, as it lies in the topic, to `stream.side_output(tag)`.  `group=` commits
        offsets for lag tools only.
    kafka.KafkaSink (exactly-once, or `delivery="at_least_once"`)
        One transaction per checkpoint.  Key, headers, timestamp and partition by function; `timestamp="event"` writes a
        time that is still to come (an early result of a window) as now.  None is written as a deletion, or with
        `none_as="value"` as the format writes it.  Partitions are chosen as the Java client does.  `compression=` zstd,
        lz4, snappy, gzip.  TLS and SASL options are those of aiokafka.  A broker that refuses them, and a topic that
        does not exist at the start, end the job at once.
    files.JsonLines, files.Csv, files.TextLines (exactly-once)
        Files or globs.  `follow=True` tails, through rotation by rename and by copy and cut: let the glob match the
        rotated names (`app.log*`), or what came between the last look and the cut is lost, which a warning says.  Files
        are told apart by device, number, time of birth and content; on a file system that keeps no time of birth, which
        a warning names, several rotations between two looks can lose what only a copy has.  Links and other spellings
        of a file are that file.  A job that reads to the end and has finished says which files came since, and which of
        the files that it read grew or were changed.  `.gz` and `.zst` are unpacked (a start in the midst of such a file
        unpacks it from its beginning).  `encoding=` ("cp1252", "utf-16" ...) and `line_end="\\r"` name the characters.
        A record longer than `max_record_bytes=` (16 MiB) is a bad record.  `Csv` takes `delimiter= quote= escape=
        doublequote= skip_spaces= skip_lines=` (`quote=None` where quotes are plain characters).  An empty cell of a `T
        | None` is None.  A record whose quotes are wrong is the single line where it begins.
    files.FileSink (exactly-once)
        Part files that appear whole, by atomic rename, when their checkpoint is committed.
    generator.Generator (exactly-once)
        A pure function of the index.
    print.Print (at-least-once)
        For looking at a stream.

Your own connector: `streamlet help connect` lists the names that it may use, `streamlet help source` and `streamlet
help sink` print the laws that it must keep.  `generator/` is the shortest source, `files/` the sink to learn from.
"""
