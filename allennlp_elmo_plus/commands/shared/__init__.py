"""The parts that commands share: their list, help, arguments, progress bar and error lines."""
