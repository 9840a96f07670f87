"""HTTP: read, call one acting domain function, answer."""
