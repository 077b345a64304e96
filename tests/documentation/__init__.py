"""The documentation: its generated pages, and what is checked of all of them."""
