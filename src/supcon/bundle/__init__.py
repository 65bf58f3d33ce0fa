"""Offline inference: what a notebook runs (`infer`), and the folder that holds all it needs (`write`)."""
