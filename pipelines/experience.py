"""Episodes with what was said of them, in the shapes the layers below take. Composition only, no maths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data.annotation import Annotations
    from data.episodes import EpisodeStore
    from data.framecache import FrameView
    from data.index import EpisodeRow
    from recap.types import BoolArray, IntArray
    from value_model.episodes import EpisodeFacts


def labelled_ids(annotations: Annotations) -> tuple[str, ...]:
    """Ids, sorted, of the episodes that have a return: annotated and not aborted.

    Raises:
        ConfigError: there are none.
    """
    from recap.types import Outcome

    ids = sorted(i for i, annotation in annotations.by_id.items() if annotation.outcome is not Outcome.ABORTED)
    refuse_none_labelled(len(ids))
    return tuple(ids)


def refuse_none_labelled(count: int) -> None:
    """Raises ConfigError if no episode has a return."""
    from recap.errors import ConfigError

    if not count:
        raise ConfigError("no episode has a label of success or failure", hint="recap annotate --all")


def episode_facts(
    store: EpisodeStore,
    annotations: Annotations,
    ids: Sequence[str],
    offsets: IntArray,
    *,
    current: Iterable[str],
) -> EpisodeFacts:
    """What returns, labels and their checks need to know of `ids`; no image is decoded.

    Args:
        store: where the episodes are.
        annotations: their outcomes.
        ids: sorted.
        offsets: [E + 1] rows of each episode.
        current: ids that this iteration collected.
    """
    import numpy as np

    from data.tasks import TASKS
    from recap.types import Source
    from value_model.episodes import EpisodeFacts

    rows = store.rows(ids)
    fresh = set(current)
    return EpisodeFacts(
        ids=tuple(ids),
        offsets=offsets,
        tasks=tuple(row.task for row in rows),
        sources=tuple(Source(row.source) for row in rows),
        outcomes=tuple(annotations.by_id[episode].outcome for episode in ids),
        max_steps=np.array([TASKS.get(row.task).spec.max_steps for row in rows], dtype=np.int64),
        current=np.array([episode in fresh for episode in ids], dtype=np.bool_),
        intervened=intervened_rows(store, ids),
    )


def intervened_rows(store: EpisodeStore, ids: Sequence[str]) -> BoolArray:
    """[N] True where a human or the expert acted, episodes in the order given."""
    import numpy as np

    return np.concatenate([store.numbers(episode)[2] for episode in ids])


def view_at(
    store: EpisodeStore,
    ids: Sequence[str],
    cache: Any,
    tasks: Sequence[str],
    journal: Any,
    *,
    image_size: tuple[int, int],
) -> FrameView:
    """The packed frames of `ids` with the cameras of the tasks' robot; those that are not packed yet are.

    Pictures of another size than `image_size` (h, w) are letterboxed to it.
    """
    from data.framecache import FrameCache
    from data.task_list import robot_of

    return FrameCache(cache).view(
        store,
        ids,
        cameras=robot_of(tasks).camera_names,
        image_size=image_size,
        progress=lambda done, total: journal.progress(done, total, "episodes packed"),
    )


def view_for(
    store: EpisodeStore, ids: Sequence[str], cache: Any, tasks: Sequence[str], journal: Any, *, model: Any
) -> FrameView:
    """The same at the size that a value model takes them."""
    from value_model.models import family_of

    size = family_of(model).image_size(model, *recorded_size(store, ids, tasks))
    return view_at(store, ids, cache, tasks, journal, image_size=size)


def recorded_size(store: EpisodeStore, ids: Sequence[str], tasks: Sequence[str]) -> tuple[int, int]:
    """(h, w) that holds every recorded picture."""
    from data.task_list import robot_of

    cameras = robot_of(tasks).camera_names
    sizes = [
        size
        for row in store.rows(ids)
        for camera, size in zip(row.cameras, row.image_sizes, strict=True)
        if camera in cameras
    ]
    return max(h for h, _ in sizes), max(w for _, w in sizes)


def prompts_of(rows: Sequence[Any]) -> tuple[str, ...]:
    """The prompt of each episode's task: what value models hear, for they judge the task."""
    from data.tasks import TASKS

    return tuple(TASKS.get(row.task).spec.prompt for row in rows)


def wordings_of(rows: Sequence[EpisodeRow]) -> tuple[str, ...]:
    """What the robot was told in each episode: what policies hear."""
    own = [row.instruction for row in rows]
    return tuple(prompt if told is None else told for told, prompt in zip(own, prompts_of(rows), strict=True))


def seen_by_none(facts: Mapping[str, Any]) -> bool:
    """Whether the values of a table, by its facts, come from models that had not seen the episode: of two folds."""
    return len(set(facts.get("folds", ()))) > 1
