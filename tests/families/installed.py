"""The third families as an installed distribution: what another package does so that recap finds what it adds."""

from pathlib import Path

HERE = Path(__file__).parent
ENTRY_POINTS = """\
[recap.policies]
ridge = ridge_policy
[recap.tasks]
quick_pants = quick_task
[recap.value_models]
neighbours = neighbours_value
"""


def install(folder: Path) -> Path:
    """Makes `folder` a place for PYTHONPATH in which all are installed, as pip would leave them."""
    info = folder / "third_families-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third_families\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    for module in ("ridge_policy.py", "neighbours_value.py", "quick_task.py"):
        (folder / module).symlink_to(HERE / module)
    return folder
