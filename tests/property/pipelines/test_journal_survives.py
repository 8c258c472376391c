import multiprocessing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from recap.journal import FileJournal, read_journal


def _append_many(path: Path, writer: int, count: int, size: int) -> None:
    journal = FileJournal(path, f"w{writer}")
    for number in range(count):
        journal.event("tick", number=number, pad="x" * ((number * 37) % size))


def test_concurrent_writers_lose_and_mix_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(path, w, 300, 9000)) for w in range(4)]
    for writer in writers:
        writer.start()
    seen: list[tuple[str, int]] = []
    offset = 0
    while any(writer.is_alive() for writer in writers):
        records, offset = read_journal(path, offset)
        seen += [(r["node"], r["number"]) for r in records]
    records, offset = read_journal(path, offset)
    seen += [(r["node"], r["number"]) for r in records]
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    for w in range(4):
        assert [number for node, number in seen if node == f"w{w}"] == list(range(300))


@settings(deadline=None, max_examples=150)
@given(count=st.integers(1, 5), cut=st.integers(1, 200), text=st.text(max_size=30))
def test_a_kill_at_any_byte_loses_only_the_record_in_flight(count: int, cut: int, text: str) -> None:
    with TemporaryDirectory() as folder:
        journal = FileJournal(Path(folder) / "j.jsonl", "n")
        for number in range(count):
            journal.event("tick", number=number, text=text)
        whole = journal.path.read_bytes()
        last = whole[:-1].rfind(b"\n") + 1
        kept = max(last, len(whole) - cut)
        journal.path.write_bytes(whole[:kept])

        before, offset = read_journal(journal.path)
        assert [r["number"] for r in before] == list(range(count - 1))
        journal.event("after", text=text)
        after, _ = read_journal(journal.path, offset)
        assert [(r["kind"], r["text"]) for r in after] == [("after", text)]
