"""What is kept: jobs and their messages, globals, and the output folders."""
