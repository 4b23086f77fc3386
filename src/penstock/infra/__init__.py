"""The plant on AWS: one description, five profiles as data, and a stack in which the stations are the same rooms again.

Needs the extra `deploy`; nothing that runs readings imports it.
"""
