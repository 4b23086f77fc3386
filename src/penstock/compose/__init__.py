"""The only room that introduces concrete things to each other: settings to a running front, or a running worker."""
