"""The tools beside the pipeline, a page each: `python -m supcon.commands.report`."""
