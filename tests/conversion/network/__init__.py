"""The network of a converted Linux."""
