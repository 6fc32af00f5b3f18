"""What a sweep found, as a table, figures and one page, read from the files of its runs."""
