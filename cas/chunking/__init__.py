"""Where to cut rows into chunks: a pure function of their content."""
