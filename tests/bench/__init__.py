"""`make bench`: how fast and how big nslab is, against a floor measured in the same run."""
