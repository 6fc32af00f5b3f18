"""Reports a sweep as a table, figures and one page, from the files of its runs."""
