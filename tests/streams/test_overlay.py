"""The overlay against a plain dict: whatever is put, deleted and committed, reads see the newest and in key order."""

from hypothesis import given
from hypothesis import strategies as st
from streams.model.tables import Changelogged, Codec
from streams.state.overlay import TaskTables
from streams.testing.memory_store import MemoryStore

KEYS = st.sampled_from([b"a", b"a1", b"a2", b"ab", b"b", b"b1"])
STEPS = st.one_of(
    st.tuples(st.sampled_from(["put", "put many", "put encoded"]), KEYS, st.integers(0, 9)),
    st.tuples(st.just("delete"), KEYS, st.none()),
    st.tuples(st.sampled_from(["commit", "discard"]), st.none(), st.none()),
)


@given(st.lists(STEPS, max_size=30), st.sampled_from([b"", b"a", b"ab", b"b", b"z"]), st.booleans())
def test_overlay_when_written_committed_and_discarded_then_it_reads_like_a_dict(
    steps: list[tuple[str, bytes | None, int | None]], prefix: bytes, cached: bool
) -> None:
    store, tables = MemoryStore(), TaskTables(0)
    tables.add(Changelogged("rows", Codec(lambda value: b"%d" % value, int), cached), store)
    table = tables.overlays["rows"]
    committed: dict[bytes, int] = {}
    now: dict[bytes, int] = {}
    for offset, (step, key, value) in enumerate(steps):
        if step == "put" and key is not None and value is not None:
            table.put(key, value)
            now[key] = value
        elif step == "put many" and key is not None and value is not None:
            table.put_many({key: value, b"many": value})
            now |= {key: value, b"many": value}
        elif step == "put encoded" and key is not None and value is not None:
            table.put_encoded({key: b"%d" % value})
            now[key] = value
        elif step == "delete" and key is not None:
            table.delete(key)
            now.pop(key, None)
        elif step == "commit":
            store.write(table.changes(), offset)
            table.settle()
            committed = dict(now)
        else:
            table.discard()
            now = dict(committed)
        assert list(table.prefix(prefix)) == sorted((k, v) for k, v in now.items() if k.startswith(prefix))
        assert table.get_many([b"none", *now, b"z"]) == [None, *now.values(), None]
        assert {k: table.get(k) for k in now} == now
        assert set(table.changed_keys()) >= {k for k in now.keys() | committed.keys() if now.get(k) != committed.get(k)}
        assert [tables.committed().overlays["rows"].get(k) for k in committed] == list(committed.values())
        assert key in now or key is None or table.get(key) is None


def test_prefix_when_only_the_first_row_is_taken_then_the_rest_is_not_decoded() -> None:
    decoded: list[bytes] = []

    def decode(raw: bytes) -> int:
        decoded.append(raw)
        return int(raw)

    store, tables = MemoryStore(), TaskTables(0)
    tables.add(Changelogged("rows", Codec(lambda value: b"%d" % value, decode)), store)
    store.write([(b"rows/%d" % n, b"%d" % n) for n in range(9)], 1)
    assert next(tables.overlays["rows"].prefix(b"")) == (b"0", 0)
    assert len(decoded) == 1
