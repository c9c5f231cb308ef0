"""A Redis stream as the one sequence of many processes: followed into a log in memory, and written to.

The id of a message is made of the id that Redis gave it, so each process that follows a stream tells the same ids; a
reader goes on at another process where it stopped at the first. Needs Redis 5; from 7 on Redis counts what was ever
added to a stream, by which it is known how much was deleted unread.
"""
