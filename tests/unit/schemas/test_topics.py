"""Topics: names by prefix, and the partition that Kafka's Java client would choose."""

from aiokafka.partitioner import murmur2

from schemas.topics import RATED, RAW, Topics, partition_for_key


def test_prefix_comes_before_every_name() -> None:
    """Two installations on one broker do not meet."""
    topics = Topics("a.")

    assert (topics.raw, topics.sinks_group) == ("a.usage.raw", "a.burnstream-sinks")


def test_partition_is_the_java_clients() -> None:
    """Checked against an independent murmur2, for keys of every length class."""
    for length in range(40):
        key = bytes(range(200, 200 + length))
        assert partition_for_key(key, 12) == (murmur2(bytearray(key)) & 0x7FFFFFFF) % 12


def test_rated_takes_messages_four_times_as_large_as_raw() -> None:
    """A rated batch holds a raw record and more; it must always fit."""
    raw, rated = (int(spec.config["max.message.bytes"]) for spec in (RAW, RATED))

    assert rated >= 4 * raw
