"""Where readings rest, and all that is kept about them."""
