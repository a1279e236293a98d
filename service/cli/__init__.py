"""The command `nbest`: one file per command, imported when it runs."""
