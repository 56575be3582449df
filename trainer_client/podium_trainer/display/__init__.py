"""What a person sees of a run, on a terminal and in a log. `watch.open_watcher` is the door."""
