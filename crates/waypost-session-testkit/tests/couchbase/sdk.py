"""What the official Python SDK finds on a node: run against the stand-in, and as well against a real server.

Usage: sdk.py couchbase://HOST:PORT BUCKET USER PASSWORD SCOPE COLLECTION [CA_FILE]
Prints a line for each step; the exit code is 1 when one fails.
"""

import sys
import time
import uuid
from datetime import timedelta

from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.durability import DurabilityLevel, ServerDurability
from couchbase.exceptions import (
    AuthenticationException,
    CasMismatchException,
    CouchbaseException,
    DocumentExistsException,
    DocumentNotFoundException,
)
from couchbase.options import (
    AppendOptions,
    ClusterOptions,
    ClusterTimeoutOptions,
    DecrementOptions,
    DeltaValue,
    IncrementOptions,
    InsertOptions,
    RemoveOptions,
    ReplaceOptions,
    SignedInt64,
    UpsertOptions,
)
from couchbase.transcoder import RawBinaryTranscoder

RAW = RawBinaryTranscoder()
PREFIX = uuid.uuid4().hex
STEPS = []


def step(run):
    STEPS.append(run)
    return run


def connect(place, user, password, ca_file):
    timeouts = ClusterTimeoutOptions(
        kv_timeout=timedelta(seconds=5),
        bootstrap_timeout=timedelta(seconds=10),
        connect_timeout=timedelta(seconds=5),
    )
    options = ClusterOptions(PasswordAuthenticator(user, password, cert_path=ca_file), timeout_options=timeouts)
    return Cluster(place, options)


def raises(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


def read(collection, key):
    return collection.get(key, transcoder=RAW)


@step
def what_is_written_is_read(c, key):
    written = c.upsert(key, b"one", UpsertOptions(transcoder=RAW))
    found = read(c, key)
    assert found.value == b"one" and found.cas == written.cas


@step
def a_missing_document_is_not_found(c, key):
    raises(DocumentNotFoundException, lambda: read(c, key))
    raises(DocumentNotFoundException, lambda: c.remove(key))
    raises(DocumentNotFoundException, lambda: c.replace(key, b"x", ReplaceOptions(transcoder=RAW)))


@step
def only_one_insertion_succeeds(c, key):
    c.insert(key, b"one", InsertOptions(transcoder=RAW))
    raises(DocumentExistsException, lambda: c.insert(key, b"two", InsertOptions(transcoder=RAW)))
    assert read(c, key).value == b"one"


@step
def a_replacement_needs_the_version_that_it_names(c, key):
    first = c.insert(key, b"one", InsertOptions(transcoder=RAW)).cas
    second = c.replace(key, b"two", ReplaceOptions(cas=first, transcoder=RAW)).cas
    assert second != first
    stale = ReplaceOptions(cas=first, transcoder=RAW)
    raises(CasMismatchException, lambda: c.replace(key, b"three", stale))
    assert read(c, key).value == b"two"


@step
def a_removal_needs_the_version_that_it_names(c, key):
    first = c.insert(key, b"one", InsertOptions(transcoder=RAW)).cas
    second = c.replace(key, b"two", ReplaceOptions(transcoder=RAW)).cas
    raises(CasMismatchException, lambda: c.remove(key, RemoveOptions(cas=first)))
    c.remove(key, RemoveOptions(cas=second))
    raises(DocumentNotFoundException, lambda: read(c, key))


@step
def a_version_is_never_given_again(c, key):
    seen = set()
    for _ in range(20):
        seen.add(c.insert(key, b"one", InsertOptions(transcoder=RAW)).cas)
        c.remove(key)
    assert len(seen) == 20


@step
def a_document_expires(c, key):
    c.insert(key, b"one", InsertOptions(expiry=timedelta(seconds=2), transcoder=RAW))
    assert read(c, key).value == b"one"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            read(c, key)
        except DocumentNotFoundException:
            break
        time.sleep(0.1)
    c.insert(key, b"two", InsertOptions(transcoder=RAW))


@step
def a_replacement_without_expiry_ends_the_expiry(c, key):
    c.insert(key, b"one", InsertOptions(expiry=timedelta(seconds=2), transcoder=RAW))
    c.replace(key, b"two", ReplaceOptions(transcoder=RAW))
    time.sleep(3.5)
    assert read(c, key).value == b"two"


@step
def an_expiry_of_more_than_thirty_days_is_a_date(c, key):
    c.insert(key, b"one", InsertOptions(expiry=timedelta(days=40), transcoder=RAW))
    assert read(c, key).value == b"one"


@step
def touching_sets_the_expiry(c, key):
    c.insert(key, b"one", InsertOptions(expiry=timedelta(seconds=2), transcoder=RAW))
    c.touch(key, timedelta(seconds=60))
    time.sleep(3.5)
    assert c.get_and_touch(key, timedelta(seconds=60), transcoder=RAW).value == b"one"


@step
def existence_is_told(c, key):
    assert not c.exists(key).exists
    c.insert(key, b"one", InsertOptions(transcoder=RAW))
    assert c.exists(key).exists


@step
def counters_count_and_stop_at_zero(c, key):
    start = SignedInt64(5)
    assert c.binary().increment(key, IncrementOptions(initial=start)).content == 5
    assert c.binary().increment(key, IncrementOptions(delta=DeltaValue(3))).content == 8
    assert c.binary().decrement(key, DecrementOptions(delta=DeltaValue(20))).content == 0


@step
def appending_adds_to_what_is_there_alone(c, key):
    raises(CouchbaseException, lambda: c.binary().append(key, b"x"))
    first = c.insert(key, b"one", InsertOptions(transcoder=RAW)).cas
    second = c.binary().append(key, b" two").cas
    assert second != first
    raises(CouchbaseException, lambda: c.binary().append(key, b"x", AppendOptions(cas=first)))
    c.binary().prepend(key, b"zero ")
    assert read(c, key).value == b"zero one two"


@step
def awkward_keys_and_values_are_kept(c, key):
    for name in (" ", "%2F", "a/b", "{}", "日本語", "🦀", "x" * (246 - len(key))):
        c.upsert(key + name, b"\x00\xff" + name.encode(), UpsertOptions(transcoder=RAW))
        assert read(c, key + name).value == b"\x00\xff" + name.encode()
    c.upsert(key, b"", UpsertOptions(transcoder=RAW))
    assert not read(c, key).value
    c.upsert(key, b"x" * (1 << 20), UpsertOptions(transcoder=RAW))
    assert len(read(c, key).value) == 1 << 20


@step
def a_durability_level_is_accepted(c, key):
    level = ServerDurability(DurabilityLevel.MAJORITY)
    c.upsert(key, b"one", UpsertOptions(durability=level, transcoder=RAW))
    assert read(c, key).value == b"one"


def main():
    place, bucket, user, password, scope, collection, *rest = sys.argv[1:]
    ca_file = rest[0] if rest else None
    opened = connect(place, user, password, ca_file).bucket(bucket)
    named = opened.scope(scope).collection(collection)
    failed = 0
    passed = 0
    for where, c in (("default", opened.default_collection()), ("named", named)):
        for run in STEPS:
            try:
                run(c, f"{PREFIX}-{run.__name__}"[:120])
                passed += 1
                print(f"ok      {where}: {run.__name__}")
            except Exception as error:  # every failure is reported, whatever it is
                failed += 1
                print(f"FAILED  {where}: {run.__name__}: {type(error).__name__}: {error}")
    opened.default_collection().upsert(PREFIX, b"default", UpsertOptions(transcoder=RAW))
    try:
        raises(DocumentNotFoundException, lambda: read(named, PREFIX))
        passed += 1
        print("ok      collections do not see each other's documents")
    except Exception as error:
        failed += 1
        print(f"FAILED  collections do not see each other's documents: {error}")
    try:
        raises(AuthenticationException, lambda: connect(place, user, password + "x", ca_file).bucket(bucket))
        passed += 1
        print("ok      a wrong password is refused")
    except Exception as error:
        failed += 1
        print(f"FAILED  a wrong password is refused: {type(error).__name__}: {error}")
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


main()
