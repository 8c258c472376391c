"""Annotations survive JSON and the book; precedence and undo agree with a plain model."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from data.annotation import SOURCES, Annotations, LabelBook, canonical, gather_annotations, read_outcomes_file
from recap.hashing import canonical_json
from recap.types import Annotation, KeyFrame, Outcome

IDS = tuple(digit * 64 for digit in "0123456789abcdef")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
key_frames = st.builds(KeyFrame, t=st.integers(0, 5), kind=st.sampled_from([1, -1]), text=texts)


def answers(episode_id: str) -> st.SearchStrategy[Annotation]:
    return st.builds(
        Annotation,
        episode_id=st.just(episode_id),
        outcome=st.sampled_from(Outcome),
        key_frames=st.lists(key_frames, max_size=5).map(tuple),
        note=texts,
    )


labels = st.sampled_from(IDS).flatmap(answers)
label_maps = st.lists(labels, max_size=8).map(lambda found: {one.episode_id: one for one in found})


@given(label_maps, st.data())
def test_json_round_trip_is_exact_and_blind_to_order(by_id, data):
    missing = tuple(i for i in IDS if i not in by_id)
    some = Annotations(by_id=by_id, missing=missing, counts={"human": len(by_id)})
    text = json.dumps(some.to_json())
    assert Annotations.from_json(json.loads(text)) == some
    shuffled = {
        i: Annotation(
            episode_id=i,
            outcome=by_id[i].outcome,
            key_frames=tuple(data.draw(st.permutations(by_id[i].key_frames))),
            note=by_id[i].note,
        )
        for i in data.draw(st.permutations(list(by_id)))
    }
    again = Annotations(
        by_id=shuffled, missing=tuple(data.draw(st.permutations(missing))), counts={"human": len(by_id)}
    )
    assert canonical_json(again.to_json()) == canonical_json(some.to_json())


actions = st.lists(st.tuples(st.booleans(), labels, st.sampled_from(["human", "imported"])), max_size=12)


@given(actions)
def test_the_book_agrees_with_a_plain_model(tmp_path_factory, actions):
    book = LabelBook(tmp_path_factory.mktemp("book"))
    history: list[tuple[str, Annotation, str]] = []
    for is_undo, annotation, origin in actions:
        if is_undo and history:
            choice, _, _ = history.pop()
            book.undo(choice, by="x")
        else:
            history.append((book.record(annotation, by="x", origin=origin), annotation, origin))
    human = {one.episode_id: canonical(one) for _, one, origin in history if origin == "human"}
    imported = {one.episode_id: canonical(one) for _, one, origin in history if origin == "imported"}
    assert book.annotations("human") == human
    assert book.annotations("imported") == imported
    assert book.annotations() == imported | human


class _Rows:
    """A store that knows sixteen episodes of six steps and no truth."""

    class _Row:
        def __init__(self, episode_id):
            self.id, self.length = episode_id, 6

    def rows(self, ids):
        return [self._Row(i) for i in sorted(set(ids))]

    def has_truth(self, episode_id):
        return False


@given(
    label_maps, label_maps, st.sampled_from([("human", "imported"), ("imported", "human"), ("imported", "detector")])
)
def test_precedence(tmp_path_factory, human, imported, sources):
    book = LabelBook(tmp_path_factory.mktemp("book"))
    if human:
        book.record_all(human.values(), by="x")
    found = gather_annotations(_Rows(), IDS, sources=sources, label_book=book, imported=imported)
    said = {"human": human, "imported": imported, "detector": {}}
    for i in IDS:
        first = next((source for source in sources if i in said[source]), None)
        got = found.by_id.get(i)
        if first is None:
            assert got is None
        else:
            own = canonical(said[first][i])
            agreeing = (
                canonical(said[source][i]).key_frames
                for source in sources
                if i in said[source] and said[source][i].outcome is own.outcome
            )
            marks = next((marks for marks in agreeing if marks), ())
            assert got == replace(own, key_frames=own.key_frames or marks)
        assert (i in found.missing) is (first is None)
    assert sum(found.counts.values()) + len(found.missing) == len(IDS)
    assert set(found.counts) == set(SOURCES)


@given(label_maps, st.integers(1, 64), st.booleans())
def test_an_exported_outcome_file_is_read_back(tmp_path_factory, by_id, digits, as_json):
    if not by_id:
        return
    folder = tmp_path_factory.mktemp("file")
    rows = [{"episode_id": i[:digits], "outcome": one.outcome.value} for i, one in by_id.items()]
    path = folder / ("o.json" if as_json else "o.csv")
    if as_json:
        path.write_text(json.dumps(rows))
    else:
        path.write_text("episode_id,outcome\n" + "".join(f"{r['episode_id']},{r['outcome']}\n" for r in rows))
    assert read_outcomes_file(path, IDS) == {
        i: Annotation(episode_id=i, outcome=by_id[i].outcome) for i in sorted(by_id)
    }
