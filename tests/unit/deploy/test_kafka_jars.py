from deploy.local import kafka_jars


def test_lock_line_is_a_maven_coordinate_and_a_fingerprint() -> None:
    """One line of the lock names group, artifact, version and the SHA-256 of the jar."""
    (jar,) = kafka_jars.read_lock("org.example:thing:1.2 sha256:00ff\n")
    assert jar == kafka_jars.Jar("org.example", "thing", "1.2", "00ff")
    assert jar.filename == "thing-1.2.jar"


def test_every_jar_is_pinned_once_with_a_sha256() -> None:
    """The lock holds whole fingerprints, no jar twice, and one version of Kafka."""
    jars = kafka_jars.pinned_jars()
    assert len({jar.filename for jar in jars}) == len(jars)
    assert {len(jar.sha256) for jar in jars} == {64}
    versions = {jar.version for jar in jars if jar.group == "org.apache.kafka"}
    assert versions == {kafka_jars.kafka_version(jars)}
    assert versions.pop().startswith("4.")
