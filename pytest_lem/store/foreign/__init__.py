"""Files of other tools, as rows that can stand beside our own. One module a tool."""
