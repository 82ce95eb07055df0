"""The report page: a section a file, with its text, table and picture."""
