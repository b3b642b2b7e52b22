"""What makes the site and the pictures of README; the guides themselves are the pages beside this."""
