"""The machine that a node runs on: what it reads in its log, and what the service manager is told.

lines     one event of the logger -> the text of its lines
repeats   which events are said, and how many like them were left out
book      the observer that twistd logs to, and where its lines go
notify    sd_notify: ready, watchdog, status
watch     what a node tells of itself while it runs
reload    what of a config can change while it runs
"""
