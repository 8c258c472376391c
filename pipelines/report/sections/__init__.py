"""The parts of the report, one file each. See `pipelines.report.section`."""
