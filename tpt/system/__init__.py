"""What the rest needs of the operating system: files, memory, processes, progress."""
