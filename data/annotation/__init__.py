"""What people say of episodes: how it is given, kept and gathered. No episode is ever changed by it.

labels.py          one annotation as JSON, and the annotations of a set of episodes
book.py            the durable book of human choices and imported outcomes
outcomes_file.py   outcomes from a CSV or JSON file
gather.py          one annotation per episode from several sources in order of precedence
waiting.py         which episodes a stopped run waits for

Must not know models, policies, or the page on which people choose.
"""

from data.annotation.book import Entry, LabelBook
from data.annotation.gather import detector_annotations, gather_annotations
from data.annotation.labels import SOURCES, Annotations, annotation_from_json, annotation_to_json, canonical
from data.annotation.outcomes_file import read_outcomes_file
from data.annotation.waiting import Waiting, annotate_command, clear_waiting, read_waiting, write_waiting

__all__ = [
    "SOURCES",
    "Annotations",
    "Entry",
    "LabelBook",
    "Waiting",
    "annotate_command",
    "annotation_from_json",
    "annotation_to_json",
    "canonical",
    "clear_waiting",
    "detector_annotations",
    "gather_annotations",
    "read_outcomes_file",
    "read_waiting",
    "write_waiting",
]
