"""Files of any size, rescored: blocks cut by content, each a function of itself, put down in their order.

block     what becomes of one block; any engine that calls it makes the same bytes
workers   processes that take blocks; one that dies is noticed
journal   what is finished, on the disk before it counts
output    where finished blocks go: at once, or so that a killed run can be taken up
run       the loop between them
"""
