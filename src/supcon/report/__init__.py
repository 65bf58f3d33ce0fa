"""A run on one page: its building blocks (`page`), the run it shows (`run`), and a module for every few sections."""
