"""An ordered message log with cursors: what feed and chat deliver from."""
