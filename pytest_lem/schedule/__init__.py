"""Runs that come again: jobs, their calendar, the log of what ran, the daemon, units for systemd and lines for cron."""
