"""What runs with the services' Python, each file by itself; none of it is imported by the lab."""
