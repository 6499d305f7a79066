"""Where a project is and what it says: its folder, `.env`, target and key, and which of its files are specs."""
