"""Trackers that follow a run, `--track`: what each is told (`tracker`), and the libraries (`libraries`)."""

from supcon.tracking.tracker import Subject
from supcon.tracking.trackers import Trackers, require_trackers, track_page, track_scores

__all__ = ["Subject", "Trackers", "require_trackers", "track_page", "track_scores"]
