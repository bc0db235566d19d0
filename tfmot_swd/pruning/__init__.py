"""The frame of every pruning method: wrappers, runs, callbacks, backups, stripping."""
