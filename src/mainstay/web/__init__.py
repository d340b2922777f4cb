"""The status page: a door that only reads. Server-rendered; a script of our own keeps it live where there is one."""
