"""How good generated images are: what a fixed classifier says of them, and distances between such sayings."""
