"""The command line: the one place where emitting and running meet."""
