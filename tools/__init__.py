"""Programs for the development of the product. Nothing here is shipped."""
