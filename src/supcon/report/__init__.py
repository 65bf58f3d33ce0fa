"""A run on one page: what it is made of (`page`), the run it shows (`run`), and a module for every few sections."""
